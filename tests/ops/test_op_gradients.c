/*
 * tests/ops/test_op_gradients.c: the gradient of every case of op_cases.h against central differences.
 */
#include "gradcheck.h"

#define GRADIENT(op)                                                                     \
    static void test_##op(void)                                                          \
    {                                                                                    \
        gradcheck_op(#op);                                                               \
    }
GRADIENT(conv2d)
GRADIENT(batch_norm)
GRADIENT(relu)
GRADIENT(add)
GRADIENT(slice)
GRADIENT(cast)
GRADIENT(avg_pool2d)
GRADIENT(max_pool2d)
GRADIENT(global_pool)
GRADIENT(linear)
GRADIENT(pooled_head)
GRADIENT(cosine_loss)
GRADIENT(cross_entropy)
GRADIENT(activation)
GRADIENT(scale_channels)
GRADIENT(attention)
GRADIENT(dropout)
GRADIENT(mse_loss)
GRADIENT(soft_cross_entropy)

BK_SUITE({ "conv2d", test_conv2d }, { "batch_norm", test_batch_norm }, { "relu", test_relu }, { "add", test_add },
         { "slice", test_slice }, { "cast", test_cast }, { "avg_pool2d", test_avg_pool2d },
         { "max_pool2d", test_max_pool2d }, { "global_pool", test_global_pool }, { "linear", test_linear },
         { "pooled_head", test_pooled_head }, { "cosine_loss", test_cosine_loss },
         { "cross_entropy", test_cross_entropy }, { "activation", test_activation },
         { "scale_channels", test_scale_channels }, { "attention", test_attention }, { "dropout", test_dropout },
         { "mse_loss", test_mse_loss }, { "soft_cross_entropy", test_soft_cross_entropy })
