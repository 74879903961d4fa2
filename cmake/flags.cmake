# Compiler flags for everything we compile. The baseline is plain x86-64: kernels that want more use
# function target attributes and are chosen at run time, so that one build runs on every machine.
add_compile_options(-Wall -Wextra)

find_program(REGRAFT_LLD NAMES ld.lld)
if(REGRAFT_LLD AND NOT REGRAFT_SANITIZE)
  add_link_options(-fuse-ld=lld)
endif()

if(REGRAFT_SANITIZE STREQUAL "address")
  # Recovering would let a test with undefined behaviour pass.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(REGRAFT_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  # libgomp is not instrumented: every parallel loop would be reported as a race.
  set(REGRAFT_OPENMP OFF)
elseif(REGRAFT_SANITIZE)
  message(FATAL_ERROR "REGRAFT_SANITIZE: want address, thread or empty, have ${REGRAFT_SANITIZE}")
endif()

if(REGRAFT_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "REGRAFT_FUZZ needs clang, have ${CMAKE_CXX_COMPILER_ID}")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
  # clang comes without an OpenMP library.
  set(REGRAFT_OPENMP OFF)
endif()
