# Everything found outside the tree. tools/setup installs all of it.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter OPTIONAL_COMPONENTS Development.Module)
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
find_package(simdjson CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(FlatBuffers CONFIG REQUIRED)
find_path(REGRAFT_XXHASH_INCLUDE xxhash.h REQUIRED)
if(REGRAFT_OPENMP)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()

# oneDNN comes as a wheel that installs into the environment's prefix, not into site-packages; asking
# for the file by name works in a virtual environment and in pip's isolated build.
if(NOT dnnl_DIR)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "from importlib.metadata import distribution as d; x = d('onednn-devel-cpu-gomp'); print(next(x.locate_file(f).resolve().parent for f in x.files if f.name == 'dnnl-config.cmake'))"
    OUTPUT_VARIABLE found_dnnl_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT found_dnnl_dir)
    message(FATAL_ERROR "oneDNN is not installed for ${Python_EXECUTABLE}: run tools/setup")
  endif()
  set(dnnl_DIR "${found_dnnl_dir}" CACHE PATH "folder of dnnl-config.cmake")
endif()
find_package(dnnl 3.2 CONFIG REQUIRED)
