/*
 * A complete ensemble-bootstrapping step on a small HyTra supernet, every path with views of its own, against PyTorch in
 * double precision (tests/fixtures/make_hytra_step.py), composed of the public calls. Block 0 has the stem and its entries,
 * block 1 stands behind a prefix; both have attention and convolutions, at one scale and down-sampling.
 */
#include "composed_step.h"

static void test_block0_ref(void) { composed_test(&hytra_step[0], "ref"); }
static void test_block1_ref(void) { composed_test(&hytra_step[1], "ref"); }
static void test_block0_cpu(void) { composed_test(&hytra_step[0], "cpu"); }
static void test_block1_cpu(void) { composed_test(&hytra_step[1], "cpu"); }

BK_SUITE({ "block 0 on ref", test_block0_ref }, { "block 1 on ref", test_block1_ref }, { "block 0 on cpu", test_block0_cpu },
         { "block 1 on cpu", test_block1_cpu })
