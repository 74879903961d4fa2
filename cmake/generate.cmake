# Generated sources: lists of the files of a folder, and the FlatBuffers header.

# One line `<macro>(<stem>)` per source file of a folder. Explicit lists instead of static
# initialisers, which a linker may drop and whose order nobody knows.
function(regraft_list_file folder macro output)
  file(GLOB files CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${folder}/*.cpp")
  list(SORT files)
  set(text "")
  foreach(file IN LISTS files)
    cmake_path(GET file STEM stem)
    string(APPEND text "${macro}(${stem})\n")
  endforeach()
  file(CONFIGURE OUTPUT "${gen}/${output}" CONTENT "${text}")
endfunction()

regraft_list_file(src/ops/catalogue REGRAFT_OP_FAMILY ops/catalogue_list.inc)
regraft_list_file(src/backends/reference/run/kernels REGRAFT_KERNEL_FILE
                  backends/reference/kernel_list.inc)
regraft_list_file(src/backends/cpu/run/kernels REGRAFT_KERNEL_FILE backends/cpu/kernel_list.inc)

if(REGRAFT_CUDA)
  regraft_list_file(src/backends/cuda/run/kernels REGRAFT_KERNEL_FILE backends/cuda/kernel_list.inc)
  # The texts of the device code, which is compiled when an engine is loaded.
  file(GLOB device_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/backends/cuda/run/cu/*.cu")
  list(SORT device_sources)
  set(text "")
  foreach(source IN LISTS device_sources)
    cmake_path(GET source STEM stem)
    file(READ "${source}" code)
    string(APPEND text "{\"${stem}\", R\"cuda(${code})cuda\"},\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  endforeach()
  file(GENERATE OUTPUT "${gen}/backends/cuda/kernel_sources.inc" CONTENT "${text}")
endif()

# The glob notices when the schema appears.
file(GLOB schemas CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/engine_file/*.fbs")
set(REGRAFT_GENERATED "")
foreach(schema IN LISTS schemas)
  cmake_path(GET schema STEM stem)
  set(header "${gen}/engine_file/${stem}_generated.h")
  add_custom_command(
    OUTPUT "${header}" DEPENDS "${schema}" VERBATIM
    COMMAND flatbuffers::flatc --cpp --cpp-std c++17 --scoped-enums -o "${gen}/engine_file"
            "${schema}")
  list(APPEND REGRAFT_GENERATED "${header}")
endforeach()
add_custom_target(regraft_generated DEPENDS ${REGRAFT_GENERATED})
