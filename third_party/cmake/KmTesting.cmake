# Tests of three kinds: cmocka programs, scripts, fuzz targets. All are ctests, all can run at once.

if(NOT KM_TESTS)
  return()
endif()
enable_testing()
option(KM_VALGRIND "Add each unit test once more under valgrind, labelled valgrind" OFF)
if(KM_VALGRIND)
  find_program(KM_VALGRIND_PROGRAM valgrind REQUIRED)
endif()
set(KM_FUZZ_SECONDS 20 CACHE STRING "How long each fuzz target runs in ctest of the fuzz preset")

function(km_test_properties name labels timeout)
  if(NOT timeout)
    set(timeout 120)
  endif()
  foreach(label IN LISTS labels)
    if(NOT label MATCHES "^[a-z]+$") # "a;b" in quotes is one label to ctest, and its filters differ
      message(FATAL_ERROR "${name}: a label is one word: ${label}")
    endif()
  endforeach()
  set_tests_properties(${name} PROPERTIES
    LABELS "${labels}" TIMEOUT ${timeout} SKIP_RETURN_CODE 77
    ENVIRONMENT "KM_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};KM_SOURCE_DIR=${PROJECT_SOURCE_DIR};KM_BUILD_DIR=${PROJECT_BINARY_DIR};ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()

# km_add_test(name SOURCES file... [LABELS label...] [TIMEOUT seconds]): a cmocka program.
# Tests without LABELS are labelled "unit"; those are also run under valgrind.
function(km_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LABELS")
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  km_missing(missing ${arg_SOURCES})
  if(missing)
    return()
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)
  target_link_libraries(${name} PRIVATE km_flags km_internal km_dep::cjson km_dep::cmocka)
  # A test that calls assert() means it.
  target_compile_options(${name} PRIVATE -UNDEBUG)
  add_test(NAME ${name} COMMAND ${name})
  km_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}")
  if(KM_VALGRIND AND NOT KM_SANITIZE AND "unit" IN_LIST arg_LABELS)
    add_test(NAME valgrind.${name} COMMAND ${KM_VALGRIND_PROGRAM} --quiet --error-exitcode=99
      --leak-check=full --errors-for-leak-kinds=definite,indirect,possible
      --suppressions=${PROJECT_SOURCE_DIR}/test/valgrind.supp
      --track-origins=yes $<TARGET_FILE:${name}>)
    km_test_properties(valgrind.${name} valgrind 600)
  endif()
endfunction()

# km_add_script_test(name COMMAND program arg... [LABELS label...] [TIMEOUT seconds]): status 77 is a
# skip. The environment has KM_BIN_DIR, KM_SOURCE_DIR and KM_BUILD_DIR.
function(km_add_script_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "COMMAND;LABELS")
  if(NOT arg_LABELS)
    set(arg_LABELS script)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  km_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}")
endfunction()

# km_add_fuzzer(name source CORPUS dir): in the fuzz preset a libFuzzer program that explores for
# KM_FUZZ_SECONDS; elsewhere the same target fed with its corpus once.
function(km_add_fuzzer name source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "CORPUS" "")
  get_filename_component(corpus ${arg_CORPUS} ABSOLUTE)
  km_missing(missing ${source})
  if(missing)
    return()
  endif()
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  target_link_libraries(${name} PRIVATE km_flags km_internal)
  target_compile_options(${name} PRIVATE -UNDEBUG -Wno-missing-prototypes)
  if(KM_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set(found ${PROJECT_BINARY_DIR}/fuzz/${name}.corpus)
    file(MAKE_DIRECTORY ${found})
    math(EXPR timeout "${KM_FUZZ_SECONDS} + 120")
    add_test(NAME ${name} COMMAND ${name} -max_total_time=${KM_FUZZ_SECONDS} -timeout=10
      -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=${PROJECT_BINARY_DIR}/fuzz/
      ${found} ${corpus})
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/test/fuzz/replay_main.c)
    set(timeout 120)
    add_test(NAME ${name} COMMAND ${name} ${corpus})
  endif()
  km_test_properties(${name} fuzz ${timeout})
endfunction()
