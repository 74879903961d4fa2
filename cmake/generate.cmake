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
