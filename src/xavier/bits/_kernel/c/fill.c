#include "fill.h"

#include <string.h>

#include "environment.h"
#include "threads.h"

#define TILE ((size_t)2048)          /* elements drawn at once where they cannot lie where they end */
#define CHUNK ((uint64_t)1 << 16)    /* elements that a thread takes at once, */
#define SHARES 8                     /* or fewer, so that each thread comes so often */
#define PATIENCE ((uint64_t)1 << 24) /* elements drawn between two questions for an interrupt */
#define RUN 64                       /* a run of elements side by side is written directly from here on */

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* What the threads of one call share. */
typedef struct {
    Destination to;
    const Law *law;
    const Loops *loops;
    Draw *draw;
    size_t item;      /* bytes of an element */
    int aligned;      /* every element's address is a multiple of its size */
    uint64_t total;   /* elements */
    uint64_t chunk;   /* elements that a thread takes at once: a number of blocks */
    uint64_t stretch; /* so many elements follow one another in the stream, then comes a gap */
    Interrupted *interrupted;
    void *context;
    Counter next; /* chunk */
    Counter stop; /* not zero after an interrupt */
    int verdict;  /* what `interrupted` returned */
} Job;

/* Values in the destination's format, of the blocks from `block` on. */
typedef struct {
    uint64_t block;
    size_t blocks;
    union {
        double float64[TILE];
        float float32[TILE];
        uint16_t bits16[TILE];
        uint64_t uint64[TILE];
        uint32_t uint32[TILE];
    } values;
    float single[TILE]; /* before rounding to 16 bits */
} Tile;

size_t item_of(Format format) {
    return format == FLOAT64 || format == UINT64 ? 8 : format == FLOAT32 || format == UINT32 ? 4 : 2;
}

static Precision precision_of(Format format) {
    return format == FLOAT64 || format == UINT64 ? DOUBLE : SINGLE;
}

/* Draws whole blocks to an aligned place. */
static void draw_blocks(const Job *job, Tile *tile, uint64_t block, size_t blocks, void *out) {
    if (job->item != 2) {
        job->draw(job->law, block, blocks, out);
        return;
    }
    Round *rounded = job->to.format == FLOAT16 ? job->loops->to_float16 : job->loops->to_bfloat16;
    uint16_t *to = out;
    while (blocks) {
        size_t some = (size_t)least(blocks, TILE / BLOCK);
        job->draw(job->law, block, some, tile->single);
        rounded(tile->single, some * BLOCK, to);
        block += some, blocks -= some, to += some * BLOCK;
    }
}

/* Returns the values from element `index` on, and how many there are: at most `*count`. */
static const unsigned char *values_at(const Job *job, Tile *tile, uint64_t index, size_t *count) {
    uint64_t block = index / BLOCK, place = index % BLOCK;
    if (block - tile->block >= tile->blocks) {
        tile->block = block;
        tile->blocks = (size_t)least((place + *count + BLOCK - 1) / BLOCK, TILE / BLOCK);
        draw_blocks(job, tile, block, tile->blocks, &tile->values);
    }
    size_t at = (size_t)((block - tile->block) * BLOCK + place);
    *count = (size_t)least(*count, tile->blocks * BLOCK - at);
    return (const unsigned char *)&tile->values + at * job->item;
}

/* Copies elements that lie side by side to places `stride` bytes apart. */
static void spread(const unsigned char *from, size_t count, size_t item, unsigned char *to,
                   ptrdiff_t stride) {
    if (stride == (ptrdiff_t)item) {
        memcpy(to, from, count * item);
    } else if (item == 2) {
        for (size_t i = 0; i < count; i++, from += 2, to += stride) memcpy(to, from, 2);
    } else if (item == 4) {
        for (size_t i = 0; i < count; i++, from += 4, to += stride) memcpy(to, from, 4);
    } else {
        for (size_t i = 0; i < count; i++, from += 8, to += stride) memcpy(to, from, 8);
    }
}

/* Writes elements that follow one another both in the stream and in aligned memory. */
static void write_run(const Job *job, Tile *tile, uint64_t index, size_t count, unsigned char *to) {
    while (count) {
        size_t blocks = index % BLOCK ? 0 : count / BLOCK, some = BLOCK * blocks;
        if (blocks) {
            draw_blocks(job, tile, index / BLOCK, blocks, to);
        } else {
            some = (size_t)least(count, BLOCK - index % BLOCK);
            const unsigned char *from = values_at(job, tile, index, &some);
            memcpy(to, from, some * job->item);
        }
        index += some, count -= some, to += some * job->item;
    }
}

/* A place in the destination: its indices, address, and index in the stream. */
typedef struct {
    uint64_t at[MOST_AXES];
    unsigned char *address;
    uint64_t index;
} Place;

static Place place_of(const Destination *to, uint64_t element) {
    Place place = {.address = to->data, .index = to->first};
    for (int axis = to->axes - 1; axis >= 0; axis--) {
        uint64_t i = element % to->size[axis];
        element /= to->size[axis];
        place.at[axis] = i;
        place.address += (ptrdiff_t)i * to->stride[axis];
        place.index += i * to->step[axis];
    }
    return place;
}

/* Moves on along the last axis, by no more than is left of it, and over to the axes before. */
static void advance(const Destination *to, Place *place, uint64_t count) {
    int axis = to->axes - 1;
    place->at[axis] += count;
    place->address += (ptrdiff_t)count * to->stride[axis];
    place->index += count * to->step[axis];
    for (; axis > 0 && place->at[axis] == to->size[axis]; axis--) {
        place->at[axis] = 0;
        place->address += to->stride[axis - 1] - (ptrdiff_t)to->size[axis] * to->stride[axis];
        place->index += to->step[axis - 1] - to->size[axis] * to->step[axis];
        place->at[axis - 1]++;
    }
}

/* Writes elements `begin` to `end` of the destination, in its row-major order. */
static void write_chunk(const Job *job, Tile *tile, uint64_t begin, uint64_t end) {
    const Destination *to = &job->to;
    const int last = to->axes - 1;
    const int direct = job->aligned && to->stride[last] == (ptrdiff_t)job->item;
    Place place = place_of(to, begin);
    while (begin < end) {
        uint64_t ahead = least(end - begin, job->stretch - begin % job->stretch);
        uint64_t side = job->stretch == 1 ? 1 : least(ahead, to->size[last] - place.at[last]);
        if (direct && side >= RUN) {
            write_run(job, tile, place.index, (size_t)side, place.address);
        } else {
            /* Drawn as far ahead as the stream goes on, for the rows that follow this one. */
            size_t some = (size_t)least(ahead, TILE);
            const unsigned char *from = values_at(job, tile, place.index, &some);
            side = least(side, some);
            spread(from, (size_t)side, job->item, place.address, to->stride[last]);
        }
        advance(to, &place, side);
        begin += side;
    }
}

/* One thread's share: chunks, until none is left or the caller was interrupted. */
static void work(void *job_, int caller) {
    Job *job = job_;
    Tile tile = {.blocks = 0};
    /* Chunks end between blocks, where the destination is one run of the stream. */
    const uint64_t size = job->chunk, skip = job->to.first % BLOCK;
    const uint64_t chunks = (job->total + skip + size - 1) / size;
    uint64_t drawn = 0;
    Environment found = take_standard_environment();
    while (!counted(&job->stop)) {
        uint64_t chunk = take(&job->next);
        if (chunk >= chunks) break;
        uint64_t begin = chunk ? chunk * size - skip : 0;
        uint64_t end = least(job->total, (chunk + 1) * size - skip);
        write_chunk(job, &tile, begin, end);
        drawn += end - begin;
        if (caller && job->interrupted && drawn >= PATIENCE) {
            drawn = 0;
            put_back(found);
            if ((job->verdict = job->interrupted(job->context))) take(&job->stop);
            found = take_standard_environment();
        }
    }
    put_back(found);
}

/* Drops axes of one element, and joins those that go on in memory and stream as if they were one. */
static Destination joined_axes(const Destination *given) {
    Destination to = *given;
    to.axes = 0;
    for (int axis = 0; axis < given->axes; axis++) {
        uint64_t size = given->size[axis], step = given->step[axis];
        ptrdiff_t stride = given->stride[axis];
        if (size == 1) continue;
        int before = to.axes - 1;
        if (before >= 0 && to.step[before] == size * step &&
            to.stride[before] == (ptrdiff_t)size * stride) {
            to.size[before] *= size;
        } else {
            before = to.axes++;
            to.size[before] = size;
        }
        to.step[before] = step;
        to.stride[before] = stride;
    }
    if (to.axes == 0) {
        to.axes = 1;
        to.size[0] = to.step[0] = 1;
        to.stride[0] = (ptrdiff_t)item_of(to.format);
    }
    return to;
}

static int is_aligned(const Destination *to, size_t item) {
    uintptr_t all = (uintptr_t)to->data;
    for (int axis = 0; axis < to->axes; axis++) all |= (uintptr_t)to->stride[axis];
    return all % item == 0;
}

static uint64_t stretch_of(const Destination *to) {
    uint64_t stretch = 1;
    for (int axis = to->axes - 1; axis >= 0 && to->step[axis] == stretch; axis--) {
        stretch *= to->size[axis];
    }
    return stretch;
}

int fill(const Destination *to, const Law *law, const Loops *loops, int threads,
         Interrupted *interrupted, void *context) {
    Job job = {
        .to = joined_axes(to),
        .law = law,
        .loops = loops,
        .draw = loops->draw[precision_of(to->format)][law->kind],
        .item = item_of(to->format),
        .total = 1,
        .interrupted = interrupted,
        .context = context,
    };
    job.aligned = is_aligned(&job.to, job.item);
    job.stretch = stretch_of(&job.to);
    for (int axis = 0; axis < job.to.axes; axis++) job.total *= job.to.size[axis];
    uint64_t share = (job.total / (uint64_t)threads / SHARES / BLOCK + 1) * BLOCK;
    job.chunk = threads == 1 ? CHUNK : least(share, CHUNK);
    run_threads(threads, work, &job);
    return job.verdict;
}
