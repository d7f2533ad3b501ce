/*
 * cpu_loops_table.h: the bodies of all range loops and the table over them. A cpu_isa_*.c file defines CPU_LOOPS_SYMBOL and
 * CPU_LOOPS_NAME, includes this and is compiled for its instruction set (see CMakeLists.txt).
 */
#include "cpu_loops.h"
#include "cpu_simd.h"
#include "cpu_act.h"

#include "cpu_loops_norm.h"

#include "cpu_loops_activation.h"
#include "cpu_loops_dense.h"
#include "cpu_loops_image.h"

#define BOTH(name) { name##_f32, name##_bf16 }
#define TERMS(name)                                                                      \
    {                                                                                    \
        { name##_f32_1, name##_f32_2, name##_f32_3 },                                    \
        { name##_bf16_1, name##_bf16_2, name##_bf16_3 },                                 \
    }

const struct cpu_loops CPU_LOOPS_SYMBOL = {
    .name = CPU_LOOPS_NAME,
    .stats = BOTH(stats),
    .column_sums = BOTH(column_sums),
    .norm_apply = TERMS(norm_apply),
    .norm_reduce = TERMS(norm_reduce),
    .norm_dx = TERMS(norm_dx),
    .add = BOTH(add),
    .to_f32 = to_f32,
    .to_bf16 = to_bf16,
    .dot = dot,
    .blend = blend,
    .combine = combine,
    .activation = BOTH(activation),
    .activation_dx = BOTH(activation_dx),
    .scale = BOTH(scale),
    .scale_rows = BOTH(scale_rows),
    .product_sums = BOTH(product_sums),
    .softmax = softmax,
    .softmax_dx = softmax_dx,
    .avg_pool = BOTH(avg_pool),
    .avg_pool_dx = BOTH(avg_pool_dx),
    .max_pool = BOTH(max_pool),
    .spread = BOTH(spread),
    .depthwise_dw = BOTH(depthwise_dw),
    .centre = BOTH(centre),
    .gemm = gemm,
    .sgd = sgd,
    .lars = lars,
    .adamw = adamw,
    .rmsprop = rmsprop,
};
