/* cpu_isa_v4bf16.c: the range loops for AVX-512 with its bf16 conversion; nothing here runs before cpu_backend.c has asked the processor. */
#define CPU_LOOPS_SYMBOL cpu_loops_v4bf16
#define CPU_LOOPS_NAME "AVX-512"
#include "cpu_loops_table.h"
