# The extension _regraft, and in the build tree a package `regraft` made of links to the sources, so
# that PYTHONPATH=<build>/python imports the package under development.
file(GLOB extension_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/python/src/*.cpp")
if(NOT extension_sources)
  return()
endif()
if(NOT Python_Development.Module_FOUND)
  message(FATAL_ERROR "no headers for ${Python_EXECUTABLE}: install python3-dev or run tools/setup")
endif()
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind 3.1 CONFIG REQUIRED)

set(python_package "${CMAKE_BINARY_DIR}/python/regraft")
nanobind_add_module(_regraft NB_STATIC NOMINSIZE ${extension_sources})
target_link_libraries(_regraft PRIVATE regraft_compiler regraft_internal)
# In a wheel: the two libraries lie beside the extension, oneDNN in the environment's lib/.
set_target_properties(_regraft regraft_runtime regraft_compiler PROPERTIES
  INSTALL_RPATH "$ORIGIN;$ORIGIN/../../..;$ORIGIN/../lib")
set_target_properties(_regraft PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${python_package}")

file(GLOB_RECURSE python_files CONFIGURE_DEPENDS RELATIVE "${CMAKE_SOURCE_DIR}/python/regraft"
  "${CMAKE_SOURCE_DIR}/python/regraft/*.py" "${CMAKE_SOURCE_DIR}/python/regraft/py.typed")
foreach(file IN LISTS python_files)
  cmake_path(GET file PARENT_PATH folder)
  file(MAKE_DIRECTORY "${python_package}/${folder}")
  file(CREATE_LINK "${CMAKE_SOURCE_DIR}/python/regraft/${file}" "${python_package}/${file}" SYMBOLIC)
endforeach()

# Entry points are found by the metadata of a distribution; the build tree is one too.
file(READ "${CMAKE_SOURCE_DIR}/pyproject.toml" pyproject)
string(REGEX MATCH "\\[project.entry-points.torch_dynamo_backends\\]\n([^[]*)" unused "${pyproject}")
set(distribution "${CMAKE_BINARY_DIR}/python/regraft-${PROJECT_VERSION}.dist-info")
file(WRITE "${distribution}/METADATA"
  "Metadata-Version: 2.1\nName: regraft\nVersion: ${PROJECT_VERSION}\n")
string(REPLACE "\"" "" entry_points "${CMAKE_MATCH_1}")
file(WRITE "${distribution}/entry_points.txt" "[torch_dynamo_backends]\n${entry_points}")

# The stub is compared with the committed python/regraft/_regraft.pyi. Making it imports the
# extension, which a sanitizer build cannot do.
if(NOT REGRAFT_SANITIZE)
  nanobind_add_stub(_regraft_stub MODULE _regraft OUTPUT "${CMAKE_BINARY_DIR}/stubs/_regraft.pyi"
                    PYTHON_PATH "${python_package}" DEPENDS _regraft)
endif()

install(TARGETS _regraft regraft_runtime regraft_compiler LIBRARY DESTINATION regraft)
# The file under its soname: a wheel cannot hold the symbolic link.
install(FILES $<TARGET_FILE:simdjson::simdjson> DESTINATION regraft
        RENAME $<TARGET_SONAME_FILE_NAME:simdjson::simdjson>)
