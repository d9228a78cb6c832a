/* Token and Token-2022: reading their accounts, and the one instruction of theirs that is called, TransferChecked. */

/* TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA and TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb. */
static const Key TOKEN_PROGRAM = {{0x93a165d7e1f6dd06, 0xac79ebce46e1cbd9, 0x91375b5fed85b41c, 0xa900ff7e85f58c3a}};
static const Key TOKEN_2022_PROGRAM = {{0xde8f75eee1f6dd06, 0xdacd6ce4bc5d4218, 0x270db9834dfc1ab6, 0xfc8ba1d828f9bdfe}};
static const Key SYSTEM_PROGRAM = {{0, 0, 0, 0}};

#define MINT_BYTES 82
#define TOKEN_ACCOUNT_BYTES 165
/* Token-2022 pads a mint with extensions to the size of a token account; the byte behind it tells the two apart. */
#define ACCOUNT_TYPE_AT TOKEN_ACCOUNT_BYTES
#define EXTENSIONS_AT (ACCOUNT_TYPE_AT + 1)
#define TYPE_MINT 1
#define TYPE_TOKEN_ACCOUNT 2
#define TRANSFER_FEE_CONFIG 1
#define TRANSFER_FEE_CONFIG_BYTES 108
#define TRANSFER_CHECKED 12

/* A mint and the program that it lives in. */
typedef struct { const Account *mint, *program; } Token;

/* What Token-2022 withholds from a transfer: ceil(amount * bps / 10000), at most the maximum. */
typedef struct { u64 bps, maximum; } TransferFee;

/* One TransferChecked. `signer` is NULL when the authority has signed the transaction itself. */
typedef struct {
  Token token;
  const Account *from, *to, *authority;
  const Signer *signer;
  u64 amount;
} Transfer;

INLINE int is_token_2022(const Account *program) { return same_key(program->key, &TOKEN_2022_PROGRAM); }

INLINE u64 balance(const Account *token_account) { return *(const u64 *)(token_account->data + 64); }

INLINE const Key *mint_of(const Account *token_account) { return (const Key *)token_account->data; }

INLINE const Key *owner_of(const Account *token_account) { return (const Key *)(token_account->data + 32); }

/* Of the classic program only this length is a token account; of Token-2022 longer ones too, if they say so. */
INLINE int is_initialized_token_account(const Account *account) {
  if (account->data_len < TOKEN_ACCOUNT_BYTES || account->data[108] == 0) return 0;
  if (account->data_len == TOKEN_ACCOUNT_BYTES) return 1;
  return same_key(account->owner, &TOKEN_2022_PROGRAM) && account->data[ACCOUNT_TYPE_AT] == TYPE_TOKEN_ACCOUNT;
}

INLINE int is_initialized_mint(const Account *account) {
  if (account->data_len < MINT_BYTES || account->data[45] == 0) return 0;
  if (account->data_len == MINT_BYTES) return 1;
  return same_key(account->owner, &TOKEN_2022_PROGRAM) && account->data_len > ACCOUNT_TYPE_AT &&
         account->data[ACCOUNT_TYPE_AT] == TYPE_MINT;
}

NOINLINE u64 check_token(const Token *token) {
  const Key *program = token->program->key;
  REFUSE_IF(!same_key(program, &TOKEN_PROGRAM) && !same_key(program, &TOKEN_2022_PROGRAM), InvalidProgramId);
  REFUSE_IF(!same_key(token->mint->owner, program) || !is_initialized_mint(token->mint), InvalidMint);
  return 0;
}

/* An initialised account of this mint; whose it is, the token program asks when it is debited. */
NOINLINE u64 check_token_account(const Account *account, const Token *token) {
  int absent = same_key(account->owner, &SYSTEM_PROGRAM) && *account->lamports == 0;
  REFUSE_IF(absent, AccountNotInitialized);
  REFUSE_IF(!same_key(account->owner, token->program->key), AccountOwnedByWrongProgram);
  REFUSE_IF(!is_initialized_token_account(account), AccountNotInitialized);
  REFUSE_IF(!same_key(mint_of(account), token->mint->key), InvalidTokenAccount);
  return 0;
}

/* Transfer, and measure what arrived: less than was sent when the mint withholds a fee, nothing when from and to are one
 * account. */
NOINLINE u64 transfer(const Input *input, const Transfer *move, u64 *arrived) {
  AccountMeta metas[4] = {
      {move->from->key, 1, 0}, {move->token.mint->key, 0, 0}, {move->to->key, 1, 0}, {move->authority->key, 0, 1}};
  u8 data[10];
  data[0] = TRANSFER_CHECKED;
  for (u64 i = 0; i < 8; i++) data[1 + i] = (u8)(move->amount >> 8 * i);
  data[9] = move->token.mint->data[44]; /* decimals */
  Instruction instruction = {move->token.program->key, metas, 4, data, sizeof(data)};
  u64 before = balance(move->to);
  TRY(sol_invoke_signed_c(&instruction, input->accounts, input->account_count, move->signer, move->signer != NULL));
  *arrived = balance(move->to) - before;
  return 0;
}

/* The transfer fee of this epoch; none for a mint without the extension. Its config: two keys, the withheld amount, then the
 * older and the newer fee, each {epoch u64, maximum u64, bps u16}; the newer one holds from its epoch on. */
NOINLINE u64 read_transfer_fee(const Account *mint, TransferFee *fee) {
  fee->bps = fee->maximum = 0;
  if (!same_key(mint->owner, &TOKEN_2022_PROGRAM)) return 0;
  u64 at = EXTENSIONS_AT;
#pragma clang loop unroll(disable)
  while (at + 4 <= mint->data_len) {
    u64 type = read_u16(mint->data + at), len = read_u16(mint->data + at + 2);
    at += 4;
    if (type == TRANSFER_FEE_CONFIG && len == TRANSFER_FEE_CONFIG_BYTES && at + len <= mint->data_len) {
      u64 clock[5]; /* slot, epoch start, epoch, leader schedule epoch, unix time */
      TRY(sol_get_clock_sysvar(clock));
      const u8 *older = mint->data + at + 72, *newer = mint->data + at + 90;
      const u8 *current = clock[2] >= read_u64(newer) ? newer : older;
      fee->maximum = read_u64(current + 8);
      fee->bps = read_u16(current + 16);
      return 0;
    }
    at += len;
  }
  return 0;
}

/* The least amount to send so that exactly `arriving` arrives. floor(x * (10000 - bps) / 10000) grows by 0 or 1 with x, and so
 * does x - maximum, so that the least x whose rest is not below `arriving` leaves exactly that. */
NOINLINE u64 sending(u64 arriving, const TransferFee *fee) {
  u64 capped = add(arriving, fee->maximum);
  if (fee->bps >= BPS_PER_WHOLE) return arriving ? capped : 0;
  return lesser(multiply_divide(arriving, BPS_PER_WHOLE, BPS_PER_WHOLE - fee->bps, UP), capped);
}
