/* Logarithm, sine, cosine and normal quantile in float64: `_functions64.py`, line by line.
 *
 * Each function is the body of one lane (see threefry.h). Integers of 64 bits become floating
 * point, and are shifted with their sign, by way of their 32-bit halves: only AVX-512 has the
 * instructions for it, and without them the loops would not be vectorized.
 */
#ifndef XAVIER_FUNCTIONS64_H
#define XAVIER_FUNCTIONS64_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "coefficients.h"

#define HORNER_64(series, x) horner64(series, (int)(sizeof(series) / sizeof((series)[0])) - 1, x)
#define TOP_BIT_64 0x8000000000000000u

static inline uint64_t bits64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double float64(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The nearest float64 of a signed integer, ties to even. The upper and the lower half are set
 * into the digits of 2**84 + 2**63 and of 2**52, from which they come out exactly; their sum is
 * the one rounding. */
static inline double nearest64(uint64_t k) {
    double upper = float64((k >> 32) ^ 0x4530000080000000u);
    double lower = float64((k & 0xFFFFFFFFu) | 0x4330000000000000u);
    return (upper - 0x1.00000801p84) + lower;
}

static inline double horner64(const double *series, int degree, double x) {
    double total = series[degree];
    for (int power = degree - 1; power >= 0; power--) total = total * x + series[power];
    return total;
}

/* ln(y) + correction, for normal positive y, in the form of Sun's fdlibm, e_log.c, 1993. */
static inline double log64(double y, double correction) {
    uint64_t bits = bits64(y);
    int32_t exponent = (int32_t)(uint32_t)((bits - 0x3FE6A09E667F3BCDu) >> 32) >> 20;
    double e = (double)exponent;
    double r = float64(bits - ((uint64_t)(uint32_t)exponent << 52)) - 1.0;
    double s = r / (2.0 + r);
    double z = s * s;
    double odd = z * HORNER_64(LOG_64, z);
    double half_square = (0.5 * r) * r;
    double small = s * (half_square + odd) + (e * 0x1.a39ef35793c76p-33 + correction);
    return e * 0x1.62e42feep-1 - ((half_square - small) - r);
}

/* (k + 1/2) * scale, for signed k and a power of two. */
static inline double half_open64(uint64_t k, double scale) {
    return (nearest64(k) + 0.5) * scale;
}

/* sqrt(-2 ln u) for u = (k + 1/2) / 2**64, accurate also where u is near 1. */
static inline double radius64(uint64_t k) {
    uint64_t flip = 0u - (k >> 63); /* all ones in the upper half */
    double t = half_open64(k ^ flip, 0x1p-64);
    double rest = 1.0 - t;
    double lost = (1.0 - rest) - t;
    double y = float64((bits64(rest) & flip) | (bits64(t) & ~flip));
    return sqrt(log64(y, float64(bits64(lost) & flip)) * -2.0);
}

/* The cosine and sine of 2 pi (k + 1/2) / 2**64. */
static inline void cosine_sine64(uint64_t k, double *cosine, double *sine) {
    uint64_t quadrant = (k + (1ull << 61)) >> 62;
    /* The lower 62 bits as a signed number: (k << 2) >> 2 with the sign kept. */
    uint64_t rest = ((k & 0x3FFFFFFFFFFFFFFFu) ^ 0x2000000000000000u) - 0x2000000000000000u;
    double z = half_open64(rest, 0x1p-61);
    double w = z * z;
    uint64_t s = bits64(z * HORNER_64(SIN_64, w));
    uint64_t c = bits64(1.0 + w * HORNER_64(COS_64, w));
    uint64_t exchange = (s ^ c) & (0u - (quadrant & 1u));
    *cosine = float64(c ^ exchange ^ (((quadrant + 1u) & 2u) << 62));
    *sine = float64(s ^ exchange ^ ((quadrant & 2u) << 62));
}

/* The normal quantile of (1 + q) / 2, for q up to the central limit. */
static inline double central_quantile64(double q) {
    double x = CENTRAL_LIMIT_64 * CENTRAL_LIMIT_64 - q * q;
    return q * (HORNER_64(CENTRAL_64, x) / HORNER_64(CENTRAL_64_OVER, x));
}

/* The z > 0 above which a normal variate lies with the probability `mass`. */
static inline double tail_quantile64(double mass) {
    double s = sqrt(log64(mass, 0.0) * -2.0);
    double x = s - TAIL_CENTRE_64;
    double near = HORNER_64(TAIL_64, x) / HORNER_64(TAIL_64_OVER, x);
    double y = s - FAR_TAIL_CENTRE_64;
    double far = HORNER_64(FAR_TAIL_64, y) / HORNER_64(FAR_TAIL_64_OVER, y);
    return s + (s < FAR_TAIL_START_64 ? near : far);
}

/* A variate cut where the mass `inside` ends, which lies within the central part. */
static inline double truncated_centre64(uint64_t k, double inside) {
    double q = half_open64(k & ~TOP_BIT_64, 0x1p-63) * inside;
    return float64(bits64(central_quantile64(q)) ^ (k & TOP_BIT_64));
}

/* The same for any cut: both branches are computed, and one is taken. */
static inline double truncated_tails64(uint64_t k, double inside, double half_outside) {
    uint64_t m = k & ~TOP_BIT_64;
    double q = half_open64(m, 0x1p-63) * inside;
    double rest = half_open64(~TOP_BIT_64 - m, 0x1p-63);
    double tail = tail_quantile64(half_outside + rest * (0.5 * inside));
    double centre = central_quantile64(q <= CENTRAL_LIMIT_64 ? q : 0.5);
    double z = q <= CENTRAL_LIMIT_64 ? centre : tail;
    return float64(bits64(z) ^ (k & TOP_BIT_64));
}

#endif
