/* Threefry-4x32-20, one counter at a time.
 *
 * Every function here is the body of one lane: the loops in laws.c call it for sixteen
 * neighbouring counters, and the compiler's vectorizer turns scalars into vectors. So there
 * is no branch, no table and no memory access.
 *
 * Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011, section 4.
 */
#ifndef XAVIER_THREEFRY_H
#define XAVIER_THREEFRY_H

#include <stdint.h>

#define THREEFRY_PARITY 0x1BD11BDAu

typedef struct {
    uint32_t word[4];
} Words;

static inline uint32_t rotated(uint32_t x, int left) {
    return (x << left) | (x >> (32 - left));
}

/* One round mixes two pairs of words; the pairs change partners from round to round. */
#define MIX(a, b, left) (a += b, b = rotated(b, left) ^ a)
#define EVEN_ROUND(first, second) (MIX(x0, x1, first), MIX(x2, x3, second))
#define ODD_ROUND(first, second) (MIX(x0, x3, first), MIX(x2, x1, second))
#define FOUR_ROUNDS_A (EVEN_ROUND(10, 26), ODD_ROUND(11, 21), EVEN_ROUND(13, 27), ODD_ROUND(23, 5))
#define FOUR_ROUNDS_B (EVEN_ROUND(6, 20), ODD_ROUND(17, 11), EVEN_ROUND(25, 10), ODD_ROUND(18, 20))
#define INJECT(a, b, c, d, turn) (x0 += a, x1 += b, x2 += c, x3 += d + turn)

/* The four output words of the counter (low, high, stream, 0). `key` has the four words of the
 * key and, fifth, their parity. */
static inline Words threefry(const uint32_t key[5], uint32_t low, uint32_t high, uint32_t stream) {
    uint32_t k0 = key[0], k1 = key[1], k2 = key[2], k3 = key[3], k4 = key[4];
    uint32_t x0 = low + k0, x1 = high + k1, x2 = stream + k2, x3 = k3;
    FOUR_ROUNDS_A, INJECT(k1, k2, k3, k4, 1);
    FOUR_ROUNDS_B, INJECT(k2, k3, k4, k0, 2);
    FOUR_ROUNDS_A, INJECT(k3, k4, k0, k1, 3);
    FOUR_ROUNDS_B, INJECT(k4, k0, k1, k2, 4);
    FOUR_ROUNDS_A, INJECT(k0, k1, k2, k3, 5);
    return (Words){{x0, x1, x2, x3}};
}

#endif
