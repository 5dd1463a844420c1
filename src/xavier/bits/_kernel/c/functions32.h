/* Logarithm, sine, cosine and normal quantile in float32: `_functions32.py`, line by line.
 *
 * An expression is one sequence of correctly rounded operations; the build forbids the compiler
 * to contract or reorder them. Each function is the body of one lane (see threefry.h).
 */
#ifndef XAVIER_FUNCTIONS32_H
#define XAVIER_FUNCTIONS32_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "coefficients.h"

#define HORNER_32(series, x) horner32(series, (int)(sizeof(series) / sizeof((series)[0])) - 1, x)

static inline uint32_t bits32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float horner32(const float *series, int degree, float x) {
    float total = series[degree];
    for (int power = degree - 1; power >= 0; power--) total = total * x + series[power];
    return total;
}

/* ln(y) + correction, for normal positive y. */
static inline float log32(float y, float correction) {
    uint32_t bits = bits32(y);
    int32_t exponent = (int32_t)(bits - 0x3F3504F3u) >> 23;
    float e = (float)exponent;
    float r = float32(bits - ((uint32_t)exponent << 23)) - 1.0f;
    float square = r * r;
    float small = HORNER_32(LOG_32, r);
    small *= r * square;
    small -= square * 0.5f;
    small += e * -2.12194440e-4f + correction;
    small += r;
    small += e * 0.693359375f;
    return small;
}

/* (k + 1/2) * scale, for signed k and a power of two. */
static inline float half_open32(int32_t k, float scale) {
    return ((float)k + 0.5f) * scale;
}

/* sqrt(-2 ln u) for u = (k + 1/2) / 2**32, accurate also where u is near 1. */
static inline float radius32(uint32_t k) {
    uint32_t flip = (uint32_t)((int32_t)k >> 31); /* all ones in the upper half */
    float t = half_open32((int32_t)(k ^ flip), 0x1p-32f);
    float rest = 1.0f - t;
    float lost = (1.0f - rest) - t;
    float y = float32((bits32(rest) & flip) | (bits32(t) & ~flip));
    return sqrtf(log32(y, float32(bits32(lost) & flip)) * -2.0f);
}

/* The cosine and sine of 2 pi (k + 1/2) / 2**32. */
static inline void cosine_sine32(uint32_t k, float *cosine, float *sine) {
    uint32_t quadrant = (k + (1u << 29)) >> 30;
    float z = half_open32((int32_t)(k << 2) >> 2, 0x1p-29f);
    float w = z * z;
    uint32_t s = bits32(z * HORNER_32(SIN_32, w));
    uint32_t c = bits32(1.0f + w * HORNER_32(COS_32, w));
    uint32_t swapped = 0u - (quadrant & 1u);
    uint32_t exchange = (s ^ c) & swapped;
    *cosine = float32(c ^ exchange ^ (((quadrant + 1u) & 2u) << 30));
    *sine = float32(s ^ exchange ^ ((quadrant & 2u) << 30));
}

/* The normal quantile of (1 + q) / 2, for q up to the central limit. */
static inline float central_quantile32(float q) {
    float x = (float)(CENTRAL_LIMIT_32 * CENTRAL_LIMIT_32) - q * q;
    return HORNER_32(CENTRAL_32, x) / HORNER_32(CENTRAL_32_OVER, x) * q;
}

/* The z > 0 above which a normal variate lies with the probability `mass`. */
static inline float tail_quantile32(float mass) {
    float s = sqrtf(log32(mass, 0.0f) * -2.0f);
    float x = s - TAIL_CENTRE_32;
    return HORNER_32(TAIL_32, x) / HORNER_32(TAIL_32_OVER, x) + s;
}

/* A variate cut where the mass `inside` ends, which lies within the central part. */
static inline float truncated_centre32(uint32_t k, float inside) {
    float q = half_open32((int32_t)(k & 0x7FFFFFFFu), 0x1p-31f) * inside;
    return float32(bits32(central_quantile32(q)) ^ (k & 0x80000000u));
}

/* The same for any cut: both branches are computed, and one is taken. */
static inline float truncated_tails32(uint32_t k, float inside, float half_outside) {
    int32_t m = (int32_t)(k & 0x7FFFFFFFu);
    float q = half_open32(m, 0x1p-31f) * inside;
    float rest = half_open32(0x7FFFFFFF - m, 0x1p-31f);
    float tail = tail_quantile32(half_outside + rest * (0.5f * inside));
    float centre = central_quantile32(q <= CENTRAL_LIMIT_32 ? q : 0.5f);
    float z = q <= CENTRAL_LIMIT_32 ? centre : tail;
    return float32(bits32(z) ^ (k & 0x80000000u));
}

#endif
