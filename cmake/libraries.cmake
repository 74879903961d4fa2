# The two halves and the command line. libregraft_runtime loads, runs and refits engines;
# libregraft_compiler makes them.
function(regraft_glob variable)
  set(patterns "")
  foreach(folder IN LISTS ARGN)
    list(APPEND patterns "${CMAKE_SOURCE_DIR}/src/${folder}/*.cpp")
  endforeach()
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${patterns})
  set(${variable} "${files}" PARENT_SCOPE)
endfunction()

set(backends reference cpu)
if(REGRAFT_CUDA)
  list(APPEND backends cuda)
endif()
list(TRANSFORM backends REPLACE "(.+)" "backends/\\1/run" OUTPUT_VARIABLE backends_run)
list(TRANSFORM backends REPLACE "(.+)" "backends/\\1/compile" OUTPUT_VARIABLE backends_compile)

# What the inside of the project sees; programs that only use the public headers do not link this.
add_library(regraft_internal INTERFACE)
target_include_directories(regraft_internal INTERFACE "${CMAKE_SOURCE_DIR}/src" "${gen}")
target_include_directories(regraft_internal SYSTEM INTERFACE
  "${REGRAFT_XXHASH_INCLUDE}" $<TARGET_PROPERTY:flatbuffers::flatbuffers,INTERFACE_INCLUDE_DIRECTORIES>)
target_compile_definitions(regraft_internal INTERFACE
  REGRAFT_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${REGRAFT_CUDA}>:REGRAFT_CUDA> $<$<NOT:$<BOOL:${REGRAFT_OPENMP}>>:REGRAFT_NO_OPENMP>)

# CMake refuses a library without sources; a half whose folders are still empty gets an empty file.
file(CONFIGURE OUTPUT "${gen}/empty.cpp" CONTENT "")

regraft_glob(runtime_sources base tensor sources plan engine_file engine refit cache ${backends_run})
file(GLOB backend_common CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/backends/*.cpp")
add_library(regraft_runtime SHARED ${runtime_sources} ${backend_common} "${gen}/empty.cpp")
add_dependencies(regraft_runtime regraft_generated)
target_include_directories(regraft_runtime PUBLIC
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_link_libraries(regraft_runtime
  PRIVATE $<BUILD_INTERFACE:regraft_internal> DNNL::dnnl ZLIB::ZLIB Threads::Threads ${CMAKE_DL_LIBS})
if(REGRAFT_OPENMP)
  target_link_libraries(regraft_runtime PRIVATE OpenMP::OpenMP_CXX)
endif()

# The cpu kernels and the merging of adapters are plain loops that only the full vectoriser turns
# into SIMD code. The two -fno options let it; neither changes a result.
regraft_glob(vector_sources backends/cpu/run)
list(APPEND vector_sources "${CMAKE_SOURCE_DIR}/src/refit/lora.cpp")
set(vector_options -fno-math-errno -fno-trapping-math)
if(NOT REGRAFT_SANITIZE AND NOT REGRAFT_FUZZ)
  list(APPEND vector_options -O3)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns about its own AVX-512 header (GCC bug 105593).
  list(APPEND vector_options -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set_source_files_properties(${vector_sources} PROPERTIES COMPILE_OPTIONS "${vector_options}")

regraft_glob(compiler_sources
  ir ops program lowering partitioning compilation pipeline ${backends_compile})
add_library(regraft_compiler SHARED ${compiler_sources} "${gen}/empty.cpp")
add_dependencies(regraft_compiler regraft_generated)
target_link_libraries(regraft_compiler
  PUBLIC regraft_runtime PRIVATE $<BUILD_INTERFACE:regraft_internal> simdjson::simdjson)
# Part of the engine cache's keys: another compiler never finds this one's plans.
target_link_options(regraft_compiler PRIVATE -Wl,--build-id)

if(REGRAFT_PCH)
  set(common_headers <algorithm> <functional> <map> <memory> <optional> <set> <span> <sstream>
                     <string> <variant> <vector> "${CMAKE_SOURCE_DIR}/src/base/fail.h")
  target_precompile_headers(regraft_runtime PRIVATE ${common_headers} "${CMAKE_SOURCE_DIR}/src/plan/plan.h")
  target_precompile_headers(regraft_compiler PRIVATE ${common_headers} "${CMAKE_SOURCE_DIR}/src/ir/graph.h")
  # Options of their own would not fit the precompiled header.
  set_source_files_properties(${vector_sources} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endif()

regraft_glob(cli_sources cli)
if(cli_sources)
  add_executable(regraft ${cli_sources})
  target_link_libraries(regraft PRIVATE regraft_compiler regraft_internal CLI11::CLI11)
endif()
