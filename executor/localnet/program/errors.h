/* Every refusal, with the number, name and words of Anchor (below 6000) and of Jupiter. layout.py has the same list. */

#define REFUSALS(X) \
  X(101, InstructionFallbackNotFound, "Fallback functions are not supported") \
  X(102, InstructionDidNotDeserialize, "The program could not deserialize the given instruction") \
  X(2000, ConstraintMut, "A mut constraint was violated") \
  X(2002, ConstraintSigner, "A signer constraint was violated") \
  X(2006, ConstraintSeeds, "A seeds constraint was violated") \
  X(3002, AccountDiscriminatorMismatch, "Account discriminator did not match what was expected") \
  X(3005, AccountNotEnoughKeys, "Not enough account keys given to the instruction") \
  X(3007, AccountOwnedByWrongProgram, "The given account is owned by a different program than expected") \
  X(3008, InvalidProgramId, "Program ID was not as expected") \
  X(3010, AccountNotSigner, "The given account did not sign") \
  X(3012, AccountNotInitialized, "The program expected this account to be already initialized") \
  X(6000, EmptyRoute, "Empty route") \
  X(6001, SlippageToleranceExceeded, "Slippage tolerance exceeded") \
  X(6002, InvalidCalculation, "Invalid calculation") \
  X(6003, MissingPlatformFeeAccount, "Missing platform fee account") \
  X(6004, InvalidSlippage, "Invalid slippage") \
  X(6008, NotEnoughAccountKeys, "Not Enough Account keys") \
  X(6010, InvalidRoutePlan, "Invalid route plan") \
  X(6014, IncorrectTokenProgramID, "Token program ID is invalid") \
  X(6015, TokenProgramNotProvided, "Token program not provided") \
  X(6016, SwapNotSupported, "Swap not supported") \
  X(6017, ExactOutAmountNotMatched, "Exact out amount doesn't match") \
  X(6018, SourceAndDestinationMintCannotBeTheSame, "Source mint and destination mint cannot the same") \
  X(6019, InvalidMint, "Invalid mint") \
  X(6020, InvalidProgramAuthority, "Invalid program authority") \
  X(6021, InvalidOutputTokenAccount, "Invalid output token account") \
  X(6022, InvalidFeeWallet, "Invalid fee wallet") \
  X(6023, InvalidAuthority, "Invalid authority") \
  X(6024, InsufficientFunds, "Insufficient funds") \
  X(6025, InvalidTokenAccount, "Invalid token account")

#define DEFINE_REFUSAL(number, name, words) \
  __attribute__((unused)) NOINLINE u64 refuse_##name(void) { \
    LOG("AnchorError occurred. Error Code: " #name ". Error Number: " #number ". Error Message: " words "."); \
    return number; \
  }
REFUSALS(DEFINE_REFUSAL)

/* End the instruction with a custom error; the runtime then undoes all that was done. */
#define REFUSE(name) return refuse_##name()
#define REFUSE_IF(condition, name) do { if (condition) REFUSE(name); } while (0)
