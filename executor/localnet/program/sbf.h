/* The Solana runtime as a program meets it: types, system calls, and the accounts and data of the instruction that is being run.
 *
 * The program is built for sBPF V0 by a plain clang (build.py), which sets the rules: no writable globals, at most 512 bytes
 * of stack a function, at most five arguments, no struct returned by value. What is larger lives in the heap, which is all
 * zero at the start. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define NULL ((void *)0)
#define NOINLINE static __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))
#define HEAP_START 0x300000000ull
#define HEAP_BYTES (32 * 1024)
/* What a transaction can lock; accounts of an instruction beyond these are walked over and not kept. */
#define MAX_ACCOUNTS 64

/* Every key that the runtime hands over is aligned, and so are our own constants: four comparisons instead of 32. */
typedef struct { u64 words[4]; } Key;

/* The layouts of Account, AccountMeta, Instruction, Seed and Signer are the runtime's (its C interface). */
typedef struct {
  const Key *key;
  const u64 *lamports;
  u64 data_len;
  const u8 *data;
  const Key *owner;
  u64 rent_epoch;
  u8 is_signer, is_writable, executable;
} Account;

typedef struct { const Key *key; u8 is_writable, is_signer; } AccountMeta;
typedef struct { const Key *program_id; const AccountMeta *metas; u64 meta_count; const u8 *data; u64 data_len; } Instruction;
typedef struct { const void *start; u64 len; } Seed;
typedef struct { const Seed *seeds; u64 count; } Signer;

extern void sol_log_(const char *text, u64 len);
extern u64 sol_invoke_signed_c(const Instruction *, const Account *, u64 account_count, const Signer *, u64 signer_count);
extern u64 sol_try_find_program_address(const Seed *, u64 seed_count, const Key *program_id, Key *found, u8 *bump);
extern u64 sol_get_clock_sysvar(void *clock);
extern void sol_set_return_data(const void *start, u64 len);

#define LOG(text) sol_log_(text, sizeof(text) - 1)
#define TRY(call) do { u64 error_ = (call); if (error_) return error_; } while (0)

/* One instruction as the runtime passed it. */
typedef struct {
  const Key *program_id;
  const u8 *data;
  u64 data_len;
  u64 account_count;
  Account accounts[MAX_ACCOUNTS];
} Input;

INLINE int same_key(const Key *one, const Key *other) {
  return one->words[0] == other->words[0] && one->words[1] == other->words[1] && one->words[2] == other->words[2] &&
         one->words[3] == other->words[3];
}

INLINE u64 read_u16(const u8 *at) { return at[0] | (u64)at[1] << 8; }

INLINE u64 read_u32(const u8 *at) { return read_u16(at) | read_u16(at + 2) << 16; }

INLINE u64 read_u64(const u8 *at) { return read_u32(at) | read_u32(at + 4) << 32; }

/* An account in the runtime's serialisation: marker (0xff, or the index of the account that this one repeats), signer,
 * writable, executable, 4 bytes, key, owner, lamports, length, data, room to grow, padding to 8, rent epoch. A repetition is 8
 * bytes long. */
INLINE const u8 *read_account(const u8 *at, Account *account) {
  account->is_signer = at[1];
  account->is_writable = at[2];
  account->executable = at[3];
  account->key = (const Key *)(at + 8);
  account->owner = (const Key *)(at + 40);
  account->lamports = (const u64 *)(at + 72);
  account->data_len = *(const u64 *)(at + 80);
  account->data = at + 88;
  at = (const u8 *)(((u64)account->data + account->data_len + 10240 + 7) & ~7ull);
  account->rent_epoch = *(const u64 *)at;
  return at + 8;
}

NOINLINE void read_input(const u8 *at, Input *input) {
  Account beyond;
  u64 count = *(const u64 *)at;
  at += 8;
#pragma clang loop unroll(disable)
  for (u64 i = 0; i < count; i++) {
    if (*at == 0xff) {
      at = read_account(at, i < MAX_ACCOUNTS ? &input->accounts[i] : &beyond);
    } else {
      /* A repetition repeats an earlier account, so that an index of ours is never repeated from beyond. */
      if (i < MAX_ACCOUNTS) input->accounts[i] = input->accounts[*at];
      at += 8;
    }
  }
  input->account_count = count < MAX_ACCOUNTS ? count : MAX_ACCOUNTS;
  input->data_len = *(const u64 *)at;
  input->data = at + 8;
  input->program_id = (const Key *)(input->data + input->data_len);
}
