/* cpu_isa_v3.c: the range loops for AVX2; nothing here runs before cpu_backend.c has asked the processor. */
#define CPU_LOOPS_SYMBOL cpu_loops_v3
#define CPU_LOOPS_NAME "AVX2"
#include "cpu_loops_table.h"
