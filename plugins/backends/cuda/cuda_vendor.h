/*
 * cuda_vendor.h: cuDNN and cuBLASLt as tables of functions, filled from the libraries at run time.
 *
 * Types come from the vendors' headers, so a call through the table is checked by the compiler like a direct one. Only
 * cuda_dnn.c, cuda_blas.c and cuda_vendor.c include this file.
 */
#ifndef CUDA_VENDOR_H
#define CUDA_VENDOR_H

#include "cuda_state.h"
#include <cublasLt.h>
#include <cudnn.h>

#define CUDA_DNN_FUNCTIONS(X)                                                            \
    X(cudnnGetVersion)                                                                   \
    X(cudnnGetCudartVersion)                                                             \
    X(cudnnGetErrorString)                                                               \
    X(cudnnCreate)                                                                       \
    X(cudnnDestroy)                                                                      \
    X(cudnnSetStream)                                                                    \
    X(cudnnCreateTensorDescriptor)                                                       \
    X(cudnnSetTensor4dDescriptor)                                                        \
    X(cudnnDestroyTensorDescriptor)                                                      \
    X(cudnnCreateFilterDescriptor)                                                       \
    X(cudnnSetFilter4dDescriptor)                                                        \
    X(cudnnDestroyFilterDescriptor)                                                      \
    X(cudnnCreateConvolutionDescriptor)                                                  \
    X(cudnnSetConvolution2dDescriptor)                                                   \
    X(cudnnSetConvolutionGroupCount)                                                     \
    X(cudnnSetConvolutionMathType)                                                       \
    X(cudnnDestroyConvolutionDescriptor)                                                 \
    X(cudnnGetConvolutionForwardAlgorithm_v7)                                            \
    X(cudnnGetConvolutionForwardWorkspaceSize)                                           \
    X(cudnnConvolutionForward)                                                           \
    X(cudnnGetConvolutionBackwardDataAlgorithm_v7)                                       \
    X(cudnnGetConvolutionBackwardDataWorkspaceSize)                                      \
    X(cudnnConvolutionBackwardData)                                                      \
    X(cudnnGetConvolutionBackwardFilterAlgorithm_v7)                                     \
    X(cudnnGetConvolutionBackwardFilterWorkspaceSize)                                    \
    X(cudnnConvolutionBackwardFilter)

#define CUDA_BLAS_FUNCTIONS(X)                                                           \
    X(cublasLtGetVersion)                                                                \
    X(cublasLtGetStatusString)                                                           \
    X(cublasLtCreate)                                                                    \
    X(cublasLtDestroy)                                                                   \
    X(cublasLtMatmulDescCreate)                                                          \
    X(cublasLtMatmulDescSetAttribute)                                                    \
    X(cublasLtMatmulDescDestroy)                                                         \
    X(cublasLtMatrixLayoutCreate)                                                        \
    X(cublasLtMatrixLayoutDestroy)                                                       \
    X(cublasLtMatmulPreferenceCreate)                                                    \
    X(cublasLtMatmulPreferenceSetAttribute)                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                   \
    X(cublasLtMatmulAlgoGetHeuristic)                                                    \
    X(cublasLtMatmul)

struct cuda_vendor {
    void *dnn_library, *blas_library;
#define CUDA_VENDOR_MEMBER(function) __typeof__(function) *function;
    CUDA_DNN_FUNCTIONS(CUDA_VENDOR_MEMBER)
    CUDA_BLAS_FUNCTIONS(CUDA_VENDOR_MEMBER)
#undef CUDA_VENDOR_MEMBER
};

#endif
