/* A law with its key and numbers, and the loops that make values of it. */
#ifndef XAVIER_LAWS_H
#define XAVIER_LAWS_H

#include <stddef.h>
#include <stdint.h>

#define LANES 16 /* counters side by side; see docs/bits.md, "From an index to its words" */
#define BLOCK 64 /* elements */

typedef enum { FILLED, UNIFORM, NORMAL, TRUNCATED, SPARSE, WORDS, KINDS } Kind;
typedef enum { SINGLE, DOUBLE, PRECISIONS } Precision;

/* All numbers are of the working precision already: float32 values fit a double. */
typedef struct {
    Kind kind;
    uint32_t key[5];                    /* four words, and their parity */
    double value;                       /* FILLED */
    double low, width, top;             /* UNIFORM */
    double mean, std;                   /* NORMAL, TRUNCATED, SPARSE */
    double inside, half_outside, limit; /* TRUNCATED */
    uint32_t threshold;                 /* SPARSE: zero where the mask's word is below */
    uint32_t stream;                    /* the counter's third word */
} Law;

/* Writes the values of `blocks` blocks, from `block` on, to `out`, which is aligned to them.
 * float32 and float64, or for WORDS uint32 and uint64. */
typedef void Draw(const Law *law, uint64_t block, size_t blocks, void *out);

/* Rounds float32 to the bits of a 16-bit format, to nearest, ties to even. */
typedef void Round(const float *from, size_t count, uint16_t *to);

/* What one instruction set has: laws.c is compiled once for each. */
typedef struct {
    const char *name;
    Draw *draw[PRECISIONS][KINDS];
    Round *to_float16, *to_bfloat16;
} Loops;

#endif
