/* The loops over blocks. The build compiles this file once for every instruction set, which
 * INSTRUCTIONS names. A block is sixteen counters, and the vectorizer makes the loop over them
 * into one vector of AVX-512, two of AVX2, four of SSE2 or NEON; their values lie in memory as
 * they are stored, so that nothing is gathered or shuffled.
 */
#include "laws.h"

#include <string.h>

#include "functions32.h"
#include "functions64.h"
#include "halves.h"
#include "threefry.h"

enum { VALUES_32, VALUES_64, MASK }; /* the counter's third word: which of a key's streams */

static inline Words words_of(const uint32_t *key, uint64_t counter, uint32_t lane, uint32_t stream) {
    /* `counter` is a multiple of sixteen: no lane carries into the upper word. */
    return threefry(key, (uint32_t)counter + lane, (uint32_t)(counter >> 32), stream);
}

static inline uint64_t joined(const Words *w, int first) {
    return (uint64_t)w->word[first] << 32 | w->word[first + 1];
}

/* The order of these comparisons is NumPy's, so that -0 and 0 are told apart as it does. */
static inline float clipped32(float z, float limit) {
    z = z > -limit ? z : -limit;
    return z < limit ? z : limit;
}

static inline double clipped64(double z, double limit) {
    z = z > -limit ? z : -limit;
    return z < limit ? z : limit;
}

/* Opens the loop over blocks: `counter` is that of lane 0, and `to` has room for the block. */
#define FOR_BLOCKS_32                                                                  \
    float *restrict to = out;                                                          \
    const uint32_t *restrict key = law->key;                                           \
    uint64_t counter = block * LANES;                                                  \
    for (size_t b = 0; b < blocks; b++, counter += LANES, to += BLOCK)

/* In float64 a block has twice as many counters; a half of it has two groups of lanes. */
#define FOR_HALVES_64                                                                  \
    double *restrict to = out;                                                         \
    const uint32_t *restrict key = law->key;                                           \
    uint64_t counter = block * 2 * LANES;                                              \
    for (size_t half = 0; half < 2 * blocks; half++, counter += LANES, to += BLOCK / 2)

#define FOR_LANES for (uint32_t lane = 0; lane < LANES; lane++)

static void filled32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const float value = (float)law->value;
    float *to = out;
    (void)block;
    for (size_t i = 0; i < blocks * BLOCK; i++) to[i] = value;
}

static void filled64(const Law *law, uint64_t block, size_t blocks, void *out) {
    double *to = out;
    (void)block;
    for (size_t i = 0; i < blocks * BLOCK; i++) to[i] = law->value;
}

static void words32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const uint32_t *restrict key = law->key;
    const uint32_t stream = law->stream;
    uint64_t counter = block * LANES;
    uint32_t *restrict to = out;
    for (size_t b = 0; b < blocks; b++, counter += LANES, to += BLOCK) {
        FOR_LANES {
            Words w = words_of(key, counter, lane, stream);
            for (int g = 0; g < 4; g++) to[g * LANES + lane] = w.word[g];
        }
    }
}

static void words64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const uint32_t *restrict key = law->key;
    const uint32_t stream = law->stream;
    uint64_t counter = block * 2 * LANES;
    uint64_t *restrict to = out;
    for (size_t half = 0; half < 2 * blocks; half++, counter += LANES, to += BLOCK / 2) {
        FOR_LANES {
            Words w = words_of(key, counter, lane, stream);
            to[lane] = joined(&w, 0);
            to[LANES + lane] = joined(&w, 2);
        }
    }
}

static void uniform32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const float low = (float)law->low, width = (float)law->width, top = (float)law->top;
    FOR_BLOCKS_32 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_32);
            for (int g = 0; g < 4; g++) {
                float u = (float)(int32_t)(w.word[g] >> 8) * 0x1p-24f;
                float x = u * width + low;
                to[g * LANES + lane] = x < top ? x : top;
            }
        }
    }
}

static void uniform64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const double low = law->low, width = law->width, top = law->top;
    FOR_HALVES_64 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_64);
            for (int g = 0; g < 2; g++) {
                double u = nearest64(joined(&w, 2 * g) >> 11) * 0x1p-53;
                double x = u * width + low;
                to[g * LANES + lane] = x < top ? x : top;
            }
        }
    }
}

/* Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958. */
static void normal32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const float mean = (float)law->mean, std = (float)law->std;
    FOR_BLOCKS_32 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_32);
            for (int g = 0; g < 4; g += 2) {
                float radius = radius32(w.word[g]), cosine, sine;
                cosine_sine32(w.word[g + 1], &cosine, &sine);
                to[g * LANES + lane] = mean + std * (radius * cosine);
                to[(g + 1) * LANES + lane] = mean + std * (radius * sine);
            }
        }
    }
}

static void normal64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const double mean = law->mean, std = law->std;
    FOR_HALVES_64 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_64);
            double radius = radius64(joined(&w, 0)), cosine, sine;
            cosine_sine64(joined(&w, 2), &cosine, &sine);
            to[lane] = mean + std * (radius * cosine);
            to[LANES + lane] = mean + std * (radius * sine);
        }
    }
}

static void truncated_centre_block32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const float mean = (float)law->mean, std = (float)law->std;
    const float inside = (float)law->inside, limit = (float)law->limit;
    FOR_BLOCKS_32 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_32);
            for (int g = 0; g < 4; g++) {
                float z = clipped32(truncated_centre32(w.word[g], inside), limit);
                to[g * LANES + lane] = mean + std * z;
            }
        }
    }
}

/* With tails the body is long: it runs over the elements of a block, whose words are made first. */
static void truncated_tails_block32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const float mean = (float)law->mean, std = (float)law->std;
    const float inside = (float)law->inside, limit = (float)law->limit;
    const float half_outside = (float)law->half_outside;
    uint32_t k[BLOCK];
    float *restrict to = out;
    for (size_t b = 0; b < blocks; b++, to += BLOCK) {
        words32(law, block + b, 1, k);
        for (int i = 0; i < BLOCK; i++) {
            float z = clipped32(truncated_tails32(k[i], inside, half_outside), limit);
            to[i] = mean + std * z;
        }
    }
}

static void truncated_centre_block64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const double mean = law->mean, std = law->std, inside = law->inside, limit = law->limit;
    FOR_HALVES_64 {
        FOR_LANES {
            Words w = words_of(key, counter, lane, VALUES_64);
            for (int g = 0; g < 2; g++) {
                double z = clipped64(truncated_centre64(joined(&w, 2 * g), inside), limit);
                to[g * LANES + lane] = mean + std * z;
            }
        }
    }
}

static void truncated_tails_block64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const double mean = law->mean, std = law->std, inside = law->inside, limit = law->limit;
    const double half_outside = law->half_outside;
    uint64_t k[BLOCK];
    double *restrict to = out;
    for (size_t b = 0; b < blocks; b++, to += BLOCK) {
        words64(law, block + b, 1, k);
        for (int i = 0; i < BLOCK; i++) {
            double z = clipped64(truncated_tails64(k[i], inside, half_outside), limit);
            to[i] = mean + std * z;
        }
    }
}

/* A cut at two standard deviations, or within, needs no tail. */
static void truncated32(const Law *law, uint64_t block, size_t blocks, void *out) {
    Draw *draw = (float)law->inside <= CENTRAL_LIMIT_32 ? truncated_centre_block32
                                                        : truncated_tails_block32;
    draw(law, block, blocks, out);
}

static void truncated64(const Law *law, uint64_t block, size_t blocks, void *out) {
    Draw *draw = law->inside <= CENTRAL_LIMIT_64 ? truncated_centre_block64 : truncated_tails_block64;
    draw(law, block, blocks, out);
}

/* The mask has one word an element, by float32's map in either precision. */
static void mask_of(const Law *law, uint64_t block, uint32_t *mask) {
    Law masking = *law;
    masking.stream = MASK;
    words32(&masking, block, 1, mask);
}

static void sparse32(const Law *law, uint64_t block, size_t blocks, void *out) {
    const uint32_t threshold = law->threshold;
    uint32_t mask[BLOCK];
    float *restrict to = out;
    normal32(law, block, blocks, out);
    for (size_t b = 0; b < blocks; b++, to += BLOCK) {
        mask_of(law, block + b, mask);
        for (int i = 0; i < BLOCK; i++) to[i] = mask[i] < threshold ? 0.0f : to[i];
    }
}

static void sparse64(const Law *law, uint64_t block, size_t blocks, void *out) {
    const uint32_t threshold = law->threshold;
    uint32_t mask[BLOCK];
    double *restrict to = out;
    normal64(law, block, blocks, out);
    for (size_t b = 0; b < blocks; b++, to += BLOCK) {
        mask_of(law, block + b, mask);
        for (int i = 0; i < BLOCK; i++) to[i] = mask[i] < threshold ? 0.0 : to[i];
    }
}

static void to_float16(const float *restrict from, size_t count, uint16_t *restrict to) {
    for (size_t i = 0; i < count; i++) to[i] = float16_bits(from[i]);
}

static void to_bfloat16(const float *restrict from, size_t count, uint16_t *restrict to) {
    for (size_t i = 0; i < count; i++) to[i] = bfloat16_bits(from[i]);
}

#define JOINED(a, b) a##b
#define LOOPS_OF(instructions) JOINED(loops_, instructions)
#define QUOTED(name) #name
#define NAME_OF(instructions) QUOTED(instructions)

const Loops LOOPS_OF(INSTRUCTIONS) = {
    .name = NAME_OF(INSTRUCTIONS),
    .draw =
        {
            [SINGLE] = {[FILLED] = filled32,
                        [UNIFORM] = uniform32,
                        [NORMAL] = normal32,
                        [TRUNCATED] = truncated32,
                        [SPARSE] = sparse32,
                        [WORDS] = words32},
            [DOUBLE] = {[FILLED] = filled64,
                        [UNIFORM] = uniform64,
                        [NORMAL] = normal64,
                        [TRUNCATED] = truncated64,
                        [SPARSE] = sparse64,
                        [WORDS] = words64},
        },
    .to_float16 = to_float16,
    .to_bfloat16 = to_bfloat16,
};
