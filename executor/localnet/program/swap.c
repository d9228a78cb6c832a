/* The localnet's swap program: Jupiter V6's four V1 route instructions over constant-product pools of its own.
 *
 * A plain route swaps between the user's own token accounts; a shared one takes the input into the accounts of a program
 * authority, swaps between those, and hands the output out. Both work on what was measured to arrive, never on what an account
 * happens to hold, so that money left lying in the program's accounts cannot be taken, and mints that withhold a transfer fee
 * fit in anywhere. */

#include "sbf.h"
#include "errors.h"
#include "arithmetic.h"
#include "token.h"
#include "events.h"
#include "pool.h"

#define ROUTE 0x2aade37a97cb17e5 /* e517cb977ae3ad2a, and so on */
#define EXACT_OUT_ROUTE 0x5ced2b7b97ef33d0
#define SHARED_ACCOUNTS_ROUTE 0x819cd641339b20c1
#define SHARED_ACCOUNTS_EXACT_OUT_ROUTE 0x3e457d9aa869d1b0

#define AUTHORITY_SEED "authority"
#define MAX_HOPS 2
#define STEP_BYTES 4
#define TAIL_BYTES 19
/* The variant of the route plan's swap enum that our hops bear; it has no payload. */
#define TOKEN_SWAP 3

typedef struct {
  u8 shared, exact_out, authority_id, platform_fee_bps;
  u64 hop_count, slippage_bps;
  /* `amount` is the exact one, `quoted_amount` the other, to which the slippage applies. */
  u64 amount, quoted_amount;
} Arguments;

typedef struct {
  Input input;
  Arguments arguments;
  const Account *user;
  /* The money's way: source -> first -> (hops) -> last -> destination. In a plain route source is first, and last is
   * destination unless the caller gives another one. */
  const Account *source, *first, *last, *destination;
  const Account *source_mint, *destination_mint; /* source_mint is NULL where the instruction does not name it */
  const Account *token_2022_program, *fee_account; /* NULL when absent */
  u64 fixed_account_count; /* the hops' accounts follow */
  Authority authority;
  Signer authority_signer;
  Seed authority_seeds[3];
  Key authority_key;
  u8 authority_bump;
  u8 fee_on_input;
  Hop hops[MAX_HOPS];
} Route;

_Static_assert(sizeof(Route) <= HEAP_BYTES, "the route lives in the heap");
_Static_assert(sizeof(PoolState) == 144 && sizeof(SwapEvent) == 128 && sizeof(FeeEvent) == 88, "layouts without holes");

/* ---- reading the instruction */

/* After the discriminator: the authority's id in a shared route, the plan as a vector of {variant, percent, input index,
 * output index}, amount u64, quoted amount u64, slippage bps u16, platform fee bps u8. */
NOINLINE u64 read_arguments(const Input *input, Arguments *arguments) {
  u64 head = 8 + arguments->shared + 4;
  REFUSE_IF(input->data_len < head, InstructionDidNotDeserialize);
  const u8 *at = input->data + head;
  arguments->authority_id = input->data[8];
  arguments->hop_count = read_u32(at - 4);
  REFUSE_IF(arguments->hop_count == 0, EmptyRoute);
  /* A step of another variant may be longer or shorter, so that the length says nothing before all steps are known. */
  for (u64 i = 0; i < arguments->hop_count; i++, at += STEP_BYTES) {
    REFUSE_IF(i == MAX_HOPS, InvalidRoutePlan);
    REFUSE_IF(input->data_len < head + (i + 1) * STEP_BYTES, InstructionDidNotDeserialize);
    REFUSE_IF(at[0] != TOKEN_SWAP, SwapNotSupported);
    REFUSE_IF(at[1] != 100 || at[2] != i || at[3] != i + 1, InvalidRoutePlan);
  }
  REFUSE_IF(input->data_len != head + arguments->hop_count * STEP_BYTES + TAIL_BYTES, InstructionDidNotDeserialize);
  arguments->amount = read_u64(at);
  arguments->quoted_amount = read_u64(at + 8);
  arguments->slippage_bps = read_u16(at + 16);
  arguments->platform_fee_bps = at[18];
  REFUSE_IF(arguments->slippage_bps > BPS_PER_WHOLE, InvalidSlippage);
  return 0;
}

/* An absent optional account is written as the program's own id. */
INLINE const Account *optional(const Route *route, const Account *account) {
  return same_key(account->key, route->input.program_id) ? NULL : account;
}

/* route: token program, user, source, last, destination?, destination mint, fee account?, event authority, program
 * exact_out_route: the same with the source mint before the destination mint, and Token-2022? after the fee account
 * shared: token program, authority, user, source, first, last, destination, source mint, destination mint, fee account?,
 *   Token-2022?, event authority, program */
NOINLINE u64 read_accounts(Route *route) {
  const Account *at = route->input.accounts;
  u64 shared = route->arguments.shared, exact_out = route->arguments.exact_out;
  u64 fixed = shared ? 13 : exact_out ? 11 : 9;
  REFUSE_IF(route->input.account_count < fixed, AccountNotEnoughKeys);
  route->fixed_account_count = fixed;
  const Account *token_program = at++;
  if (shared) route->authority.account = at++;
  route->user = at++;
  route->source = at++;
  route->first = shared ? at++ : route->source;
  route->last = at++;
  route->destination = shared ? at++ : optional(route, at++);
  if (!route->destination) route->destination = route->last;
  route->source_mint = shared || exact_out ? at++ : NULL;
  route->destination_mint = at++;
  route->fee_account = optional(route, at++);
  route->token_2022_program = shared || exact_out ? optional(route, at++) : NULL;
  const Account *event_authority = at++, *program = at;
  REFUSE_IF(!same_key(token_program->key, &TOKEN_PROGRAM), InvalidProgramId);
  REFUSE_IF(route->token_2022_program && !is_token_2022(route->token_2022_program), InvalidProgramId);
  REFUSE_IF(!same_key(program->key, route->input.program_id), InvalidProgramId);
  REFUSE_IF(!same_key(event_authority->key, &EVENT_AUTHORITY), ConstraintSeeds);
  REFUSE_IF(!route->user->is_signer, AccountNotSigner);
  int writable = route->source->is_writable && route->first->is_writable && route->last->is_writable &&
                 route->destination->is_writable && (!route->fee_account || route->fee_account->is_writable);
  REFUSE_IF(!writable, ConstraintMut);
  return 0;
}

/* The hops must follow each other from `first` to `last`, account by account; read_hop has seen that each is of the hop's
 * mint, so that the mints follow each other too, and as they all differ, no account stands on the way twice. */
NOINLINE u64 read_hops(Route *route) {
  u64 count = route->arguments.hop_count, meets_token_2022 = 0;
  REFUSE_IF(route->input.account_count < route->fixed_account_count + count * HOP_ACCOUNTS, NotEnoughAccountKeys);
  for (u64 i = 0; i < count; i++) {
    Hop *hop = &route->hops[i];
    TRY(read_hop(&route->input, &route->input.accounts[route->fixed_account_count + i * HOP_ACCOUNTS], hop));
    meets_token_2022 |= is_token_2022(hop->in.program) || is_token_2022(hop->out.program);
    REFUSE_IF(!same_key(hop->from->key, i ? hop[-1].to->key : route->first->key), InvalidRoutePlan);
  }
  const Hop *first = route->hops, *last = &route->hops[count - 1];
  REFUSE_IF(!same_key(last->to->key, route->last->key), InvalidRoutePlan);
  REFUSE_IF(same_key(first->in.mint->key, last->out.mint->key), SourceAndDestinationMintCannotBeTheSame);
  REFUSE_IF(route->source_mint && !same_key(route->source_mint->key, first->in.mint->key), InvalidMint);
  REFUSE_IF(!same_key(route->destination_mint->key, last->out.mint->key), InvalidMint);
  int wants_token_2022 = route->arguments.shared || route->arguments.exact_out;
  REFUSE_IF(wants_token_2022 && meets_token_2022 && !route->token_2022_program, TokenProgramNotProvided);
  return 0;
}

INLINE const Hop *first_hop(const Route *route) { return &route->hops[0]; }
INLINE const Hop *last_hop(const Route *route) { return &route->hops[route->arguments.hop_count - 1]; }

/* Whether an account is one that the route moves money from or to, or a vault of it. */
NOINLINE int is_on_the_way(const Route *route, const Account *account) {
  const Key *key = account->key;
  return same_key(key, route->source->key) || same_key(key, route->first->key) || same_key(key, route->last->key) ||
         same_key(key, route->destination->key) || same_key(key, first_hop(route)->vault_in->key) ||
         same_key(key, last_hop(route)->vault_out->key);
}

/* The accounts at both ends of the hops. In a plain route without forwarding they are the hops' own, which read_hop has
 * checked. */
NOINLINE u64 check_ends(const Route *route) {
  TRY(check_token_account(route->source, &first_hop(route)->in));
  TRY(check_token_account(route->destination, &last_hop(route)->out));
  REFUSE_IF(same_key(route->source->key, first_hop(route)->vault_in->key), InvalidTokenAccount);
  REFUSE_IF(same_key(route->destination->key, last_hop(route)->vault_out->key), InvalidOutputTokenAccount);
  return 0;
}

/* The user decides for himself, and the token programs ask whether he may. The program decides for its authority: only between
 * accounts that are the authority's, and never to where they would be taken for the user's. */
NOINLINE u64 set_authority(Route *route) {
  if (!route->arguments.shared) {
    route->authority.account = route->user;
    return 0;
  }
  Seed *seeds = route->authority_seeds;
  seeds[0] = (Seed){AUTHORITY_SEED, sizeof(AUTHORITY_SEED) - 1};
  seeds[1] = (Seed){&route->arguments.authority_id, 1};
  seeds[2] = (Seed){&route->authority_bump, 1};
  u64 none = sol_try_find_program_address(seeds, 2, route->input.program_id, &route->authority_key, &route->authority_bump);
  REFUSE_IF(none || !same_key(route->authority.account->key, &route->authority_key), InvalidProgramAuthority);
  route->authority_signer = (Signer){seeds, 3};
  route->authority.signer = &route->authority_signer;
  REFUSE_IF(!same_key(owner_of(route->first), &route->authority_key), InvalidAuthority);
  REFUSE_IF(!same_key(owner_of(route->last), &route->authority_key), InvalidAuthority);
  REFUSE_IF(same_key(route->source->key, route->first->key), InvalidTokenAccount);
  REFUSE_IF(same_key(route->destination->key, route->last->key), InvalidOutputTokenAccount);
  return 0;
}

/* As Jupiter's V1 instructions have it: a token account of the classic Token program, in the input mint, or in the output mint
 * unless the output is the exact amount. An account on the way would count the fee as output, or as reserves. */
NOINLINE u64 check_fee_account(Route *route) {
  const Account *account = route->fee_account;
  REFUSE_IF(!account && route->arguments.platform_fee_bps, MissingPlatformFeeAccount);
  if (!account) return 0;
  int token_2022 = same_key(account->owner, &TOKEN_2022_PROGRAM);
  int is_token_account = (token_2022 || same_key(account->owner, &TOKEN_PROGRAM)) && is_initialized_token_account(account);
  REFUSE_IF(!is_token_account, AccountNotInitialized);
  REFUSE_IF(token_2022, IncorrectTokenProgramID);
  route->fee_on_input = same_key(mint_of(account), first_hop(route)->in.mint->key);
  int on_output = !route->arguments.exact_out && same_key(mint_of(account), last_hop(route)->out.mint->key);
  REFUSE_IF(!route->fee_on_input && !on_output, InvalidFeeWallet);
  REFUSE_IF(is_on_the_way(route, account), InvalidFeeWallet);
  return 0;
}

/* ---- moving the money */

/* From the user's account to the program's, or nothing when they are one. */
NOINLINE u64 pass_in(const Route *route, u64 amount, u64 *arrived) {
  *arrived = amount;
  if (!route->arguments.shared) return 0;
  Transfer move = {first_hop(route)->in, route->source, route->first, route->user, NULL, amount};
  return transfer(&route->input, &move, arrived);
}

/* From the last hop's account to where the output goes, or nothing when they are one. */
NOINLINE u64 pass_out(const Route *route, u64 amount, u64 *arrived) {
  *arrived = amount;
  if (same_key(route->last->key, route->destination->key)) return 0;
  const Authority *authority = &route->authority;
  Transfer move = {last_hop(route)->out, route->last, route->destination, authority->account, authority->signer, amount};
  return transfer(&route->input, &move, arrived);
}

/* The input fee leaves the user's account, the output fee the last hop's. */
NOINLINE u64 pay_platform_fee(const Route *route, u64 amount) {
  u64 arrived;
  if (amount == 0) return 0;
  const Authority user = {route->user, NULL}, *authority = route->fee_on_input ? &user : &route->authority;
  const Account *from = route->fee_on_input ? route->source : route->last;
  const Token *token = route->fee_on_input ? &first_hop(route)->in : &last_hop(route)->out;
  Transfer move = {*token, from, route->fee_account, authority->account, authority->signer, amount};
  TRY(transfer(&route->input, &move, &arrived));
  FeeEvent event = {EVENT_TAG, FEE_EVENT, *route->fee_account->key, *token->mint->key, amount};
  return emit(&route->input, &event, sizeof(event));
}

/* Swap all of `amount`; what arrives is at least the quoted output less the slippage. */
NOINLINE u64 run_exact_in(const Route *route, u64 *received) {
  const Arguments *arguments = &route->arguments;
  u64 amount = arguments->amount, fee_bps = arguments->platform_fee_bps;
  REFUSE_IF(balance(route->source) < amount, InsufficientFunds);
  u64 fee = route->fee_on_input ? multiply_divide(amount, fee_bps, BPS_PER_WHOLE, DOWN) : 0;
  TRY(pay_platform_fee(route, fee));
  TRY(pass_in(route, amount - fee, &amount));
  for (u64 i = 0; i < arguments->hop_count; i++) TRY(swap(&route->input, &route->hops[i], &route->authority, amount, &amount));
  fee = route->fee_on_input ? 0 : multiply_divide(amount, fee_bps, BPS_PER_WHOLE, DOWN);
  TRY(pay_platform_fee(route, fee));
  TRY(pass_out(route, amount - fee, received));
  REFUSE_IF(*received == 0, InvalidCalculation);
  u64 minimum = multiply_divide(arguments->quoted_amount, BPS_PER_WHOLE - arguments->slippage_bps, BPS_PER_WHOLE, UP);
  REFUSE_IF(*received < minimum, SlippageToleranceExceeded);
  return 0;
}

/* Find backwards what every part of the way must be given so that exactly the output arrives. */
NOINLINE u64 plan_exact_out(Route *route, u64 *in_amount) {
  TransferFee fee;
  u64 amount = route->arguments.amount;
  if (!same_key(route->last->key, route->destination->key)) {
    TRY(read_transfer_fee(last_hop(route)->out.mint, &fee));
    amount = sending(amount, &fee);
  }
  for (u64 i = route->arguments.hop_count; i-- > 0;) {
    TRY(plan_hop(&route->hops[i], amount));
    amount = route->hops[i].in_amount;
  }
  if (route->arguments.shared) {
    TRY(read_transfer_fee(first_hop(route)->in.mint, &fee));
    amount = sending(amount, &fee);
  }
  *in_amount = amount;
  return 0;
}

/* Spend the least that makes exactly `amount` arrive; the platform fee comes on top, as its share of the sum. */
NOINLINE u64 run_exact_out(Route *route, u64 *spent) {
  const Arguments *arguments = &route->arguments;
  u64 amount, arrived, fee_bps = arguments->platform_fee_bps;
  TRY(plan_exact_out(route, &amount));
  u64 fee = multiply_divide(amount, fee_bps, BPS_PER_WHOLE - fee_bps, DOWN);
  *spent = add(amount, fee);
  REFUSE_IF(*spent == OVERFLOW, InvalidCalculation);
  /* A limit that does not fit is no limit, and OVERFLOW is above every amount. */
  u64 maximum = multiply_divide(arguments->quoted_amount, BPS_PER_WHOLE + arguments->slippage_bps, BPS_PER_WHOLE, DOWN);
  REFUSE_IF(*spent > maximum, SlippageToleranceExceeded);
  REFUSE_IF(balance(route->source) < *spent, InsufficientFunds);
  TRY(pass_in(route, amount, &arrived));
  for (u64 i = 0; i < arguments->hop_count; i++) TRY(swap(&route->input, &route->hops[i], &route->authority, arrived, &arrived));
  TRY(pass_out(route, arrived, &arrived));
  REFUSE_IF(arrived != arguments->amount, ExactOutAmountNotMatched);
  return pay_platform_fee(route, fee);
}

NOINLINE u64 run_route(Route *route) {
  u64 answer;
  TRY(read_arguments(&route->input, &route->arguments));
  TRY(read_accounts(route));
  TRY(read_hops(route));
  TRY(check_ends(route));
  TRY(set_authority(route));
  TRY(check_fee_account(route));
  TRY(route->arguments.exact_out ? run_exact_out(route, &answer) : run_exact_in(route, &answer));
  /* Last, because every call of another program clears it. */
  sol_set_return_data(&answer, sizeof(answer));
  return 0;
}

u64 entrypoint(const u8 *serialized) {
  Route *route = (Route *)HEAP_START;
  Input *input = &route->input;
  read_input(serialized, input);
  REFUSE_IF(input->data_len < 8, InstructionFallbackNotFound);
  u64 discriminator = read_u64(input->data);
  if (discriminator == EVENT_TAG) return receive_event(input);
  if (discriminator == ROUTE) {
    LOG("Instruction: Route");
  } else if (discriminator == EXACT_OUT_ROUTE) {
    LOG("Instruction: ExactOutRoute");
    route->arguments.exact_out = 1;
  } else if (discriminator == SHARED_ACCOUNTS_ROUTE) {
    LOG("Instruction: SharedAccountsRoute");
    route->arguments.shared = 1;
  } else if (discriminator == SHARED_ACCOUNTS_EXACT_OUT_ROUTE) {
    LOG("Instruction: SharedAccountsExactOutRoute");
    route->arguments.shared = route->arguments.exact_out = 1;
  } else {
    REFUSE(InstructionFallbackNotFound);
  }
  return run_route(route);
}
