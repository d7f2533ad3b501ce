# The cuda backend compiled for the host, its kernels as plain loops, as a backend `cuda_emulation` that only tests see: the suites
# that `ctest -L gpu` runs on a GPU run on it everywhere. Needs a C++ compiler and x86-64; not with sanitizers, which do not
# follow the change of stacks.
if(BOSSKIT_SANITIZE OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  return()
endif()
include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "tests: the kernels of backend/cuda are not emulated: no C++ compiler")
  return()
endif()
enable_language(CXX)

set(cuda_dir ${CMAKE_SOURCE_DIR}/plugins/backends/cuda)
file(GLOB kernels CONFIGURE_DEPENDS ${cuda_dir}/*.cu)
set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
add_library(cuda_emulation MODULE ${kernels} ${cuda_dir}/cuda_backend.c ${cuda_dir}/cuda_memory.c ${cuda_dir}/cuda_conv.c ${cuda_dir}/cuda_views.c
  ${cuda_dir}/cuda_graph.c
  backends/cuda_emulation/cuda_emulation.cpp backends/cuda_emulation/cuda_emulation_vendor.c)
set_target_properties(cuda_emulation PROPERTIES PREFIX "" CXX_STANDARD 17 CXX_EXTENSIONS ON CXX_VISIBILITY_PRESET hidden
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/cuda_emulation/backends
  COMPILE_OPTIONS "-O1;-g0;-Wall;-Wextra;-Wno-unknown-pragmas;-ffp-contract=off;-fno-strict-aliasing")
target_include_directories(cuda_emulation BEFORE PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/backends/cuda_emulation ${cuda_dir})
target_compile_definitions(cuda_emulation PRIVATE CUDA_PLUGIN_NAME="cuda_emulation")
target_link_libraries(cuda_emulation PRIVATE bosskit m)

foreach(name IN ITEMS test_backend_agreement test_nats_step test_mbconv_step test_supervised_step test_distill_step test_backend_ratings
    test_cuda_device test_cuda_graphs test_cuda_views)
  get_test_property(${name} ENVIRONMENT environment)
  add_test(NAME ${name}_emulated COMMAND ${name})
  set_tests_properties(${name}_emulated PROPERTIES LABELS backends TIMEOUT 600 ENVIRONMENT
    "${environment};BK_TEST_BACKEND=cuda_emulation;BOSSKIT_PLUGIN_PATH=${CMAKE_BINARY_DIR}/plugins:${CMAKE_BINARY_DIR}/tests/cuda_emulation")
endforeach()
