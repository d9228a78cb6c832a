/* A hop through a constant-product pool.
 *
 * What keeps a pool's money in it: the pool account is owned by this program, which never writes to one, so that what stands
 * in it was put there at genesis; it names the two mints and the two vaults, and no other account is taken for them; the
 * vaults belong to the pool's address, for which only this program signs, and only to pay what output_for allows for what the
 * vault was seen to receive. */

/* A hop's accounts, after the fixed ones of the instruction. */
enum {
  HOP_MARKER, /* this program: the hops of the real one begin with the exchange that they call */
  HOP_POOL,
  HOP_FROM,
  HOP_TO,
  HOP_VAULT_IN,
  HOP_VAULT_OUT,
  HOP_MINT_IN,
  HOP_MINT_OUT,
  HOP_PROGRAM_IN,
  HOP_PROGRAM_OUT,
  HOP_ACCOUNTS
};

#define POOL_MAGIC 0x31304c4f4f504e4c /* "LNPOOL01" */
#define POOL_SEED "pool"

typedef struct {
  u64 magic;
  u8 bump, reserved;
  u16 fee_bps;
  u32 padding;
  Key mint_a, mint_b; /* a is the bytewise smaller one */
  Key vault_a, vault_b;
} PoolState;

typedef struct {
  const Account *pool, *from, *to, *vault_in, *vault_out;
  Token in, out;
  u64 fee_bps;
  Seed seeds[5];
  Signer signer;
  /* Of an exact-out route, found backwards from the output before anything moves. */
  u64 in_amount, pay_amount;
} Hop;

/* Who moves the money between the hops: the user, who has signed, or the program's authority, for which the program signs. */
typedef struct { const Account *account; const Signer *signer; } Authority;

INLINE void set_signer(Hop *hop, const PoolState *state) {
  hop->seeds[0] = (Seed){POOL_SEED, sizeof(POOL_SEED) - 1};
  hop->seeds[1] = (Seed){&state->mint_a, sizeof(Key)};
  hop->seeds[2] = (Seed){&state->mint_b, sizeof(Key)};
  hop->seeds[3] = (Seed){&state->fee_bps, sizeof(state->fee_bps)};
  hop->seeds[4] = (Seed){&state->bump, sizeof(state->bump)};
  hop->signer = (Signer){hop->seeds, 5};
}

/* Take the mints and vaults from the pool's state in the direction of the hop, and refuse all others. */
NOINLINE u64 read_pool(const Input *input, Hop *hop) {
  const Account *pool = hop->pool;
  REFUSE_IF(!same_key(pool->owner, input->program_id), AccountOwnedByWrongProgram);
  const PoolState *state = (const PoolState *)pool->data;
  int is_pool = pool->data_len == sizeof(PoolState) && state->magic == POOL_MAGIC && state->fee_bps < BPS_PER_WHOLE;
  REFUSE_IF(!is_pool, AccountDiscriminatorMismatch);
  int a_to_b = same_key(hop->in.mint->key, &state->mint_a);
  REFUSE_IF(!same_key(hop->in.mint->key, a_to_b ? &state->mint_a : &state->mint_b), InvalidMint);
  REFUSE_IF(!same_key(hop->out.mint->key, a_to_b ? &state->mint_b : &state->mint_a), InvalidMint);
  REFUSE_IF(!same_key(hop->vault_in->key, a_to_b ? &state->vault_a : &state->vault_b), InvalidTokenAccount);
  REFUSE_IF(!same_key(hop->vault_out->key, a_to_b ? &state->vault_b : &state->vault_a), InvalidTokenAccount);
  hop->fee_bps = state->fee_bps;
  set_signer(hop, state);
  return 0;
}

NOINLINE u64 read_hop(const Input *input, const Account *accounts, Hop *hop) {
  REFUSE_IF(!same_key(accounts[HOP_MARKER].key, input->program_id), SwapNotSupported);
  hop->pool = &accounts[HOP_POOL];
  hop->from = &accounts[HOP_FROM];
  hop->to = &accounts[HOP_TO];
  hop->vault_in = &accounts[HOP_VAULT_IN];
  hop->vault_out = &accounts[HOP_VAULT_OUT];
  hop->in = (Token){&accounts[HOP_MINT_IN], &accounts[HOP_PROGRAM_IN]};
  hop->out = (Token){&accounts[HOP_MINT_OUT], &accounts[HOP_PROGRAM_OUT]};
  TRY(check_token(&hop->in));
  TRY(check_token(&hop->out));
  TRY(read_pool(input, hop));
  TRY(check_token_account(hop->vault_in, &hop->in));
  TRY(check_token_account(hop->vault_out, &hop->out));
  TRY(check_token_account(hop->from, &hop->in));
  TRY(check_token_account(hop->to, &hop->out));
  /* Harmless by the measuring below, but nobody's intention: a pool that pays itself. */
  REFUSE_IF(same_key(hop->from->key, hop->vault_in->key) || same_key(hop->to->key, hop->vault_out->key), InvalidTokenAccount);
  return 0;
}

/* Find what an exact-out hop pays and takes. */
NOINLINE u64 plan_hop(Hop *hop, u64 out_amount) {
  TransferFee fee;
  u64 reserve_in = balance(hop->vault_in), reserve_out = balance(hop->vault_out);
  REFUSE_IF(reserve_in == 0 || reserve_out == 0 || out_amount == 0, InvalidCalculation);
  TRY(read_transfer_fee(hop->out.mint, &fee));
  hop->pay_amount = sending(out_amount, &fee);
  REFUSE_IF(hop->pay_amount >= reserve_out, InvalidCalculation);
  u64 received = input_for(hop->pay_amount, reserve_in, reserve_out, hop->fee_bps);
  REFUSE_IF(add(reserve_in, received) == OVERFLOW, InvalidCalculation);
  TRY(read_transfer_fee(hop->in.mint, &fee));
  hop->in_amount = sending(received, &fee);
  return 0;
}

/* Swap `in_amount`; pay all that the pool allows, or hop->pay_amount when that is not 0. */
NOINLINE u64 swap(const Input *input, const Hop *hop, const Authority *authority, u64 in_amount, u64 *out_amount) {
  u64 received, reserve_in = balance(hop->vault_in), reserve_out = balance(hop->vault_out);
  REFUSE_IF(reserve_in == 0 || reserve_out == 0 || in_amount == 0, InvalidCalculation);
  Transfer take = {hop->in, hop->from, hop->vault_in, authority->account, authority->signer, in_amount};
  TRY(transfer(input, &take, &received));
  u64 allowed = output_for(received, reserve_in, reserve_out, hop->fee_bps);
  u64 paid = hop->pay_amount ? hop->pay_amount : allowed;
  REFUSE_IF(paid == 0 || paid > allowed, InvalidCalculation);
  Transfer pay = {hop->out, hop->vault_out, hop->to, hop->pool, &hop->signer, paid};
  TRY(transfer(input, &pay, out_amount));
  SwapEvent event = {EVENT_TAG, SWAP_EVENT, *hop->pool->key, *hop->in.mint->key, in_amount, *hop->out.mint->key, *out_amount};
  return emit(input, &event, sizeof(event));
}
