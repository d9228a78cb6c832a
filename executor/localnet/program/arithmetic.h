/* Exact integers. executor/localnet/formula.py is the same in Python; the tests hold the two against each other. */

#define BPS_PER_WHOLE 10000ull
/* No amount: what a calculation gives that does not fit. It stays what it is through add and sending, so that it is enough to look
 * for it where an amount is used. */
#define OVERFLOW (~0ull)

enum { DOWN, UP };

/* a * b / divisor by way of a 128-bit product, which the compiler has no code for. The divisor is not 0. */
NOINLINE u64 multiply_divide(u64 a, u64 b, u64 divisor, u64 rounding) {
  u64 a_low = (u32)a, a_high = a >> 32, b_low = (u32)b, b_high = b >> 32;
  u64 low_low = a_low * b_low, low_high = a_low * b_high, high_low = a_high * b_low;
  u64 middle = (low_low >> 32) + (u32)low_high + (u32)high_low;
  u64 low = (u32)low_low | middle << 32;
  u64 high = a_high * b_high + (low_high >> 32) + (high_low >> 32) + (middle >> 32);
  u64 quotient, rest;
  if (high == 0) {
    quotient = low / divisor;
    rest = low - quotient * divisor;
  } else {
    if (high >= divisor) return OVERFLOW;
    quotient = 0;
    rest = high;
    /* Long division, bit by bit; `rest` is below the divisor before each step, so that at most one bit is carried out of it. */
#pragma clang loop unroll(disable)
    for (u64 bit = 64; bit-- > 0;) {
      u64 carry = rest >> 63;
      rest = rest << 1 | (low >> bit & 1);
      if (carry || rest >= divisor) {
        rest -= divisor;
        quotient |= 1ull << bit;
      }
    }
  }
  return rounding == UP && rest && quotient != OVERFLOW ? quotient + 1 : quotient;
}

INLINE u64 add(u64 one, u64 other) { return one > OVERFLOW - other ? OVERFLOW : one + other; }

INLINE u64 lesser(u64 one, u64 other) { return one < other ? one : other; }

/* What a constant-product pool gives for what its vault received. The fee is taken from the input and stays in the pool; both
 * roundings leave the pool the more. The vault holds reserve_in + received, so that the sum below fits. */
INLINE u64 output_for(u64 received, u64 reserve_in, u64 reserve_out, u64 fee_bps) {
  u64 after_fee = multiply_divide(received, BPS_PER_WHOLE - fee_bps, BPS_PER_WHOLE, DOWN);
  return multiply_divide(reserve_out, after_fee, reserve_in + after_fee, DOWN);
}

/* The least that the vault must receive so that output_for gives `paid`; paid < reserve_out. */
INLINE u64 input_for(u64 paid, u64 reserve_in, u64 reserve_out, u64 fee_bps) {
  u64 after_fee = multiply_divide(reserve_in, paid, reserve_out - paid, UP);
  if (after_fee == OVERFLOW) return OVERFLOW;
  return multiply_divide(after_fee, BPS_PER_WHOLE, BPS_PER_WHOLE - fee_bps, UP);
}
