# The code base as targets: one object library a folder, the libraries made of them, the programs.

# Layers, lowest first. A module sees the public headers of its own layer and of those below it.
set(KM_LAYERS base holepunch relay store discovery magicsock endpoint)
set(km_common_deps km_dep::sodium km_dep::uv)
set(km_base_deps ${km_common_deps} km_dep::lws) # for io/lws_io.c
set(km_holepunch_deps ${km_common_deps} km_dep::miniupnpc)
set(km_relay_deps ${km_common_deps} km_dep::lws km_dep::wolfssl km_dep::blake3)
set(km_store_deps ${km_common_deps} km_dep::sqlite km_dep::cjson)
set(km_discovery_deps ${km_common_deps} km_dep::cares km_dep::lws km_dep::wolfssl)
set(km_magicsock_deps ${km_common_deps})
set(km_endpoint_deps ${km_common_deps} km_dep::ngtcp2 km_dep::wolfssl km_dep::cjson)

# km_missing(result source...): the first source that does not exist. A listed source that is not
# there is left out with a warning, so that a module can be written step by step; .ci/run makes it an
# error (cmake -Werror=dev).
function(km_missing result)
  set(${result} "" PARENT_SCOPE)
  foreach(source IN LISTS ARGN)
    if(source MATCHES "^\\$<")
      continue()
    endif()
    get_filename_component(source ${source} ABSOLUTE)
    if(NOT EXISTS ${source})
      message(AUTHOR_WARNING "${source} is listed but not there")
      set(${result} ${source} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# km_add_module(name [dir] source...): the object library km_<name>.
function(km_add_module name)
  set(sources ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR})
  list(GET sources 0 first)
  get_filename_component(first ${first} ABSOLUTE)
  if(IS_DIRECTORY ${first})
    set(dir ${first})
    list(POP_FRONT sources)
  endif()
  list(TRANSFORM sources PREPEND ${dir}/ REGEX "^[^/]")
  foreach(source IN LISTS sources)
    if(NOT EXISTS ${source})
      message(AUTHOR_WARNING "${source} is listed but not there")
      list(REMOVE_ITEM sources ${source})
    endif()
  endforeach()
  if(NOT sources)
    return()
  endif()

  add_library(km_${name} OBJECT ${sources})
  target_link_libraries(km_${name} PRIVATE km_flags ${km_${name}_deps})
  target_include_directories(km_${name} PRIVATE ${PROJECT_SOURCE_DIR})
  foreach(layer IN LISTS KM_LAYERS)
    target_include_directories(km_${name} PRIVATE ${PROJECT_SOURCE_DIR}/${layer}/include)
    if(layer STREQUAL name)
      break()
    endif()
  endforeach()
  set_property(GLOBAL APPEND PROPERTY KM_MODULES km_${name})
endfunction()

# km_add_libraries(): km_internal, keymesh and keymesh_static, out of all modules added so far.
function(km_add_libraries)
  get_property(modules GLOBAL PROPERTY KM_MODULES)
  set(objects "")
  foreach(module IN LISTS modules)
    list(APPEND objects $<TARGET_OBJECTS:${module}>)
  endforeach()
  set(deps km_dep::lws km_dep::ngtcp2 km_dep::wolfssl km_dep::blake3 km_dep::cares
    km_dep::sqlite km_dep::cjson km_dep::sodium km_dep::uv km_dep::miniupnpc Threads::Threads m)
  set(public_includes "")
  foreach(layer IN LISTS KM_LAYERS)
    list(APPEND public_includes $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/${layer}/include>)
  endforeach()

  # For our programs and tests: all objects, all headers, all dependencies.
  add_library(km_archive STATIC ${objects})
  target_link_libraries(km_archive INTERFACE ${deps}) # they stand behind it, whatever else is linked
  add_library(km_internal INTERFACE)
  target_link_libraries(km_internal INTERFACE km_archive ${deps})
  target_include_directories(km_internal INTERFACE ${PROJECT_SOURCE_DIR} ${public_includes})

  # For others, shared. Dependencies stay inside and out of sight.
  set(exports ${PROJECT_SOURCE_DIR}/third_party/cmake/keymesh.map)
  add_library(keymesh SHARED ${objects})
  target_link_libraries(keymesh PRIVATE km_flags ${deps})
  target_link_options(keymesh PRIVATE
    -Wl,--exclude-libs,ALL -Wl,--version-script=${exports} -Wl,-Bsymbolic-functions)
  # A look-up of a name may outlive the last use of the library (relay/resolve_io.c), and so may a
  # talk with a router (holepunch/portmap_upnp_io.c).
  target_link_options(keymesh PRIVATE -Wl,-z,nodelete)
  if(NOT KM_SANITIZE)
    target_link_options(keymesh PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(keymesh PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${exports})
  target_include_directories(keymesh INTERFACE
    ${public_includes} $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

  # For others, static: one relocatable object with the dependencies that we built ourselves inside
  # and only the public symbols global. wolfSSL's unprefixed names must not meet anybody else's.
  # Sanitizers need their own symbols global, so their archive is a plain one for use in this tree.
  if(KM_SANITIZE)
    add_library(keymesh_static STATIC ${objects})
  else()
    set(object ${PROJECT_BINARY_DIR}/keymesh_static.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${object}
        -Wl,--whole-archive $<TARGET_FILE:km_archive> -Wl,--no-whole-archive ${KM_BUNDLED_ARCHIVES}
      COMMAND ${CMAKE_OBJCOPY} --localize-hidden --wildcard --keep-global-symbol=km_* ${object}
      DEPENDS km_archive ${KM_BUNDLED_ARCHIVES}
      COMMENT "Linking keymesh_static.o with its dependencies inside" VERBATIM)
    set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
    add_library(keymesh_static STATIC ${object})
    set_target_properties(keymesh_static PROPERTIES OUTPUT_NAME keymesh)
  endif()
  set_target_properties(keymesh_static PROPERTIES LINKER_LANGUAGE C)
  target_link_libraries(keymesh_static INTERFACE
    "$<BUILD_INTERFACE:${deps}>" "$<INSTALL_INTERFACE:KeyMesh::deps>")
  target_include_directories(keymesh_static INTERFACE
    ${public_includes} $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

# km_add_program(name source...): build/<preset>/bin/<name>; those of cmd/ are also installed.
function(km_add_program name)
  km_missing(missing ${ARGN})
  if(missing)
    return()
  endif()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE km_flags km_internal km_dep::cjson)
  string(FIND ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/cmd at)
  if(at EQUAL 0)
    set_property(GLOBAL APPEND PROPERTY KM_PROGRAMS ${name})
  endif()
endfunction()

# km_add_example(name source...): a program as a user of the library would write it; it gets the
# public headers and libkeymesh.so, nothing else.
function(km_add_example name)
  km_missing(missing ${ARGN})
  if(missing)
    return()
  endif()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE km_flags keymesh)
endfunction()
