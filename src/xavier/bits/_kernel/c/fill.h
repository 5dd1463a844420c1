/* Write the values of a law where a strided destination wants them. */
#ifndef XAVIER_FILL_H
#define XAVIER_FILL_H

#include <stddef.h>
#include <stdint.h>

#include "laws.h"

#define MOST_AXES 64 /* NumPy's limit */

typedef enum { FLOAT64, FLOAT32, FLOAT16, BFLOAT16, UINT64, UINT32 } Format;

/* Element (i, j, ...) lies at data + i stride[0] + j stride[1] + ... bytes, and is element
 * first + i step[0] + j step[1] + ... of the stream. No size is zero. */
typedef struct {
    unsigned char *data;
    Format format;
    int axes;
    uint64_t first;
    uint64_t size[MOST_AXES];
    uint64_t step[MOST_AXES];
    ptrdiff_t stride[MOST_AXES];
} Destination;

/* The bytes of an element. */
size_t item_of(Format format);

/* Asked now and then by the thread that called; not zero ends the work. */
typedef int Interrupted(void *context);

/* Returns 0, or what `interrupted` returned: then an unknown part of the destination is written. */
int fill(const Destination *to, const Law *law, const Loops *loops, int threads,
         Interrupted *interrupted, void *context);

#endif
