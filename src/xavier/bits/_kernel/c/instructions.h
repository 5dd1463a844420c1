/* The instruction sets that the kernel was compiled for, and those that this machine has. */
#ifndef XAVIER_INSTRUCTIONS_H
#define XAVIER_INSTRUCTIONS_H

#include "laws.h"

/* The number of sets that can run here. */
int loops_count(void);

/* The n-th of them, the slowest first. */
const Loops *loops_at(int n);

#endif
