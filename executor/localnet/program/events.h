/* Events, as Anchor's emit_cpi writes them: the program calls itself with the event as instruction data, signed by an address
 * that only it can sign for. Unlike log lines they cannot be cut off, and nobody else can make one. */

#define EVENT_TAG 0x1d9acb512ea545e4 /* e445a52e51cb9a1d; all these eight bytes are read as little-endian numbers */
#define SWAP_EVENT 0xe2710826e8cdc640 /* 40c6cde8260871e2 */
#define FEE_EVENT 0xdc0dd5b87f4e4f49 /* 494f4e7fb8d50ddc */

/* D8cy77BBepLMngZx6ZukaTff5hCt1HrWyKk3Hnd9oitf: the program address of the seed at Jupiter's address. */
static const Key EVENT_AUTHORITY = {{0x4af6d7f527fa3fb4, 0xde7958291f9bc074, 0x51ddc9df36ab094b, 0xe8e58cb3a71a324b}};
#define EVENT_AUTHORITY_SEED "__event_authority"
#define EVENT_AUTHORITY_BUMP "\xff"

/* Borsh of the fields in their order, which these have by themselves. */
typedef struct { u64 tag, kind; Key pool, in_mint; u64 in_amount; Key out_mint; u64 out_amount; } SwapEvent;
typedef struct { u64 tag, kind; Key account, mint; u64 amount; } FeeEvent;

NOINLINE u64 emit(const Input *input, const void *event, u64 len) {
  Seed seeds[2] = {{EVENT_AUTHORITY_SEED, sizeof(EVENT_AUTHORITY_SEED) - 1}, {EVENT_AUTHORITY_BUMP, 1}};
  Signer signer = {seeds, 2};
  AccountMeta meta = {&EVENT_AUTHORITY, 0, 1};
  Instruction instruction = {input->program_id, &meta, 1, event, len};
  return sol_invoke_signed_c(&instruction, input->accounts, input->account_count, &signer, 1);
}

/* The other end of emit: an event of ours has nothing to do but to have been called. */
NOINLINE u64 receive_event(const Input *input) {
  REFUSE_IF(input->account_count < 1, AccountNotEnoughKeys);
  REFUSE_IF(!input->accounts[0].is_signer, ConstraintSigner);
  REFUSE_IF(!same_key(input->accounts[0].key, &EVENT_AUTHORITY), ConstraintSeeds);
  return 0;
}
