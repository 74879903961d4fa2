# One GoogleTest executable per folder of tests/ that has *_test.cpp: tests/backends/cpu ->
# test_backends_cpu. Other .cpp files of that folder are linked in; tests/support is for everybody.
find_package(GTest CONFIG REQUIRED)
find_package(benchmark CONFIG)

set(tests_root "${CMAKE_SOURCE_DIR}/tests")
file(GLOB_RECURSE support_sources CONFIGURE_DEPENDS "${tests_root}/support/*.cpp")
add_library(regraft_test_support STATIC ${support_sources} "${gen}/empty.cpp")
target_include_directories(regraft_test_support PUBLIC "${tests_root}")
target_compile_definitions(regraft_test_support PUBLIC
  REGRAFT_TEST_DATA="${tests_root}" $<$<BOOL:${REGRAFT_SANITIZE}>:REGRAFT_SANITIZED>)
target_link_libraries(regraft_test_support PUBLIC regraft_compiler regraft_internal GTest::gmock)

if(REGRAFT_SANITIZE)
  # Optimising the tests themselves takes longer than they run.
  add_compile_options(-O0)
endif()
file(GLOB_RECURSE test_sources CONFIGURE_DEPENDS RELATIVE "${tests_root}" "${tests_root}/*_test.cpp")
set(test_folders "")
foreach(source IN LISTS test_sources)
  cmake_path(GET source PARENT_PATH folder)
  list(APPEND test_folders "${folder}")
endforeach()
list(REMOVE_DUPLICATES test_folders)
if(NOT REGRAFT_CUDA)
  list(REMOVE_ITEM test_folders backends/cuda)
endif()
if(REGRAFT_PCH)
  # Only for its header, which all tests share.
  add_executable(test_headers "${gen}/empty.cpp")
  target_link_libraries(test_headers PRIVATE
    regraft_test_support DNNL::dnnl simdjson::simdjson ZLIB::ZLIB GTest::gmock_main)
  target_precompile_headers(test_headers PRIVATE
    ${common_headers} <gmock/gmock.h> <gtest/gtest.h>)
endif()
foreach(folder IN LISTS test_folders)
  string(REPLACE "/" "_" area "${folder}")
  file(GLOB sources CONFIGURE_DEPENDS "${tests_root}/${folder}/*.cpp")
  add_executable(test_${area} ${sources})
  # DNNL and simdjson for their headers: some tests look at what the libraries did.
  target_link_libraries(test_${area} PRIVATE
    regraft_test_support DNNL::dnnl simdjson::simdjson ZLIB::ZLIB GTest::gmock_main)
  if(REGRAFT_PCH)
    target_precompile_headers(test_${area} REUSE_FROM test_headers)
  endif()
  set_target_properties(test_${area} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${area} COMMAND test_${area})
  set_tests_properties(${area} PROPERTIES WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
    # Where PyTorch's wheels put the CUDA libraries; kernels are compiled once for a build folder.
    ENVIRONMENT "REGRAFT_CUDA_PATH=${Python_SITELIB};REGRAFT_CUDA_KERNEL_CACHE=${CMAKE_BINARY_DIR}/kernels")
endforeach()
if(TARGET test_backends_cuda)
  # Every kernel by the oldest compiler, too (requirements-oldest-cuda.txt).
  add_test(NAME oldest_cuda
    COMMAND test_backends_cuda --gtest_filter=Compiler*:*Kernels*:Group*:Tables*:ShiftedRows*:Adapters*)
  # Behind the other: programs that run at once would write results to the same file.
  set_tests_properties(oldest_cuda PROPERTIES DEPENDS backends_cuda
    WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
    ENVIRONMENT "REGRAFT_CUDA_PATH=${CMAKE_SOURCE_DIR}/.venv/oldest-cuda:${Python_SITELIB};REGRAFT_CUDA_KERNEL_CACHE=${CMAKE_BINARY_DIR}/kernels;REGRAFT_WANT_NVRTC=13.0")
endif()
# The longest go first when several run at once.
foreach(area IN ITEMS conformance backends_cuda oldest_cuda backends_cpu)
  if(TEST ${area})
    set_tests_properties(${area} PROPERTIES COST 100)
  endif()
endforeach()

# Programs that tests run: tests/tools/<name>.cpp -> tests/<name> of the build folder.
file(GLOB test_tools CONFIGURE_DEPENDS "${tests_root}/tools/*.cpp")
foreach(source IN LISTS test_tools)
  cmake_path(GET source STEM name)
  add_executable(${name} "${source}")
  target_link_libraries(${name} PRIVATE regraft_test_support)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
endforeach()

# The headers of the CUDA wheels, but for one that they lack and that declares nothing.
if(TARGET test_backends_cuda)
  set(macros "")
  foreach(name IN ITEMS __device_builtin__ __cudart_builtin__ CUDARTAPI __host__ __device__
          __device_builtin_texture_type__ __device_builtin_surface_type__ __CUDA_HOSTDEVICE__)
    string(APPEND macros "#define ${name}\n")
  endforeach()
  string(APPEND macros "#define __align__(n) __attribute__((aligned(n)))\n"
                       "#define __builtin_align__(n) __align__(n)\n"
                       "#define __forceinline__ inline\n#define __noinline__\n")
  file(CONFIGURE OUTPUT "${gen}/cuda/crt/host_defines.h" CONTENT "${macros}")
  target_include_directories(test_backends_cuda SYSTEM PRIVATE "${gen}/cuda"
    "${Python_SITELIB}/nvidia/cu13/include" "${Python_SITELIB}/nvidia/cudnn/include")
endif()

# Drivers for tests of what a driver may lack: one of today, and one of CUDA 12 without newer
# functions.
if(TARGET test_backends_cuda)
  foreach(kind IN ITEMS fake old)
    set(folder "${CMAKE_BINARY_DIR}/tests/${kind}_driver")
    add_library(regraft_${kind}_driver MODULE "${tests_root}/backends/cuda/fake_driver/libcuda.cpp")
    target_include_directories(regraft_${kind}_driver PRIVATE "${CMAKE_SOURCE_DIR}/src")
    set_target_properties(regraft_${kind}_driver PROPERTIES
      PREFIX "" OUTPUT_NAME libcuda SUFFIX ".so.1" LIBRARY_OUTPUT_DIRECTORY "${folder}")
    string(TOUPPER "REGRAFT_${kind}_DRIVER" macro)
    target_compile_definitions(test_backends_cuda PRIVATE ${macro}="${folder}")
    add_dependencies(test_backends_cuda regraft_${kind}_driver)
  endforeach()
  target_compile_definitions(regraft_old_driver PRIVATE REGRAFT_WITHOUT_CUDA_13)
endif()

# Its tests run the command line.
if(TARGET test_cli)
  add_dependencies(test_cli regraft)
endif()

# An example sees the public headers and the runtime half only.
file(GLOB examples CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/examples/*.cpp")
foreach(source IN LISTS examples)
  cmake_path(GET source STEM name)
  add_executable(example_${name} "${source}")
  target_link_libraries(example_${name} PRIVATE regraft_runtime Threads::Threads)
endforeach()

file(GLOB benchmarks CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/benchmarks/*.cpp")
if(benchmark_FOUND AND NOT REGRAFT_SANITIZE)
  foreach(source IN LISTS benchmarks)
    cmake_path(GET source STEM name)
    add_executable(bench_${name} "${source}")
    target_link_libraries(bench_${name} PRIVATE
      regraft_compiler regraft_internal DNNL::dnnl benchmark::benchmark)
  endforeach()
endif()
