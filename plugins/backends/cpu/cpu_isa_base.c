/* cpu_isa_base.c: the range loops for baseline x86-64; nothing here runs before cpu_backend.c has asked the processor. */
#define CPU_LOOPS_SYMBOL cpu_loops_base
#define CPU_LOOPS_NAME "baseline x86-64"
#include "cpu_loops_table.h"
