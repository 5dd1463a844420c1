/* float32 rounded to float16 and bfloat16, to nearest, ties to even; the body of one lane. */
#ifndef XAVIER_HALVES_H
#define XAVIER_HALVES_H

#include <stdint.h>

#include "functions32.h"

/* The upper half of the bits. NaN does not occur; infinity stays what it is. */
static inline uint16_t bfloat16_bits(float x) {
    uint32_t bits = bits32(x);
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/* A normal float16 is the float32 with 13 bits rounded off and 112 taken from its exponent. A
 * subnormal one is a multiple of 2**-24, which the addition of 1/2 rounds to, since that is the
 * last place of numbers near 1/2. Whatever rounds beyond 65504 becomes infinite. */
static inline uint16_t float16_bits(float x) {
    uint32_t bits = bits32(x) & 0x7FFFFFFFu;
    uint32_t sign = (bits32(x) >> 16) & 0x8000u;
    uint32_t normal = (bits + 0xFFFu + ((bits >> 13) & 1u) - (112u << 23)) >> 13;
    uint32_t subnormal = bits32(float32(bits) + 0.5f) - bits32(0.5f);
    uint32_t finite = (int32_t)bits < 0x38800000 ? subnormal : normal;
    return (uint16_t)(((int32_t)bits >= 0x477FF000 ? 0x7C00u : finite) | sign);
}

#endif
