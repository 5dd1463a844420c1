/* Runs the kernel without Python, for compilers and processors that have none: reads calls, one a
 * line, and writes the values' bytes. See check_elsewhere.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill.h"
#include "instructions.h"

int main(void) {
    int kind, format, threads, loops;
    unsigned long long first, count;
    uint32_t key[4];
    double n[5];
    unsigned threshold;
    while (scanf("%d %d %d %d %llu %llu %u %u %u %u %lf %lf %lf %lf %lf %u", &loops, &kind, &format,
                 &threads, &first, &count, &key[0], &key[1], &key[2], &key[3], &n[0], &n[1], &n[2],
                 &n[3], &n[4], &threshold) == 16) {
        Law law = {.kind = (Kind)kind, .threshold = threshold, .stream = format == FLOAT64};
        for (int i = 0; i < 4; i++) law.key[i] = key[i];
        law.key[4] = 0x1BD11BDAu ^ key[0] ^ key[1] ^ key[2] ^ key[3];
        law.value = law.low = law.mean = n[0];
        law.width = law.std = n[1];
        law.top = law.inside = n[2];
        law.half_outside = n[3];
        law.limit = n[4];
        Destination to = {.format = (Format)format, .axes = 1, .first = first};
        size_t item = item_of(to.format);
        to.data = malloc(count * item);
        to.size[0] = count, to.step[0] = 1, to.stride[0] = (ptrdiff_t)item;
        if (loops >= loops_count()) return 2;
        fill(&to, &law, loops_at(loops), threads, NULL, NULL);
        fwrite(to.data, item, count, stdout);
        free(to.data);
    }
    return 0;
}
