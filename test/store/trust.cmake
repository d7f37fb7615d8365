# Trust, statements and messages.
foreach(name json_text message statement trust trust_own trust_rules)
  km_add_test(store_${name}_test SOURCES ${name}_test.c)
endforeach()
# It fills quotas of a million: minutes under valgrind, which is why it is no "unit".
km_add_test(store_outbox_test SOURCES outbox_test.c LABELS slow TIMEOUT 300)
foreach(name message statement)
  target_compile_definitions(store_${name}_test PRIVATE
    KM_MESH_DOCUMENT="${PROJECT_SOURCE_DIR}/docs/protocol-mesh.md")
endforeach()

foreach(name message statement)
  km_add_fuzzer(fuzz_${name} fuzz_${name}.c CORPUS corpus/${name})
endforeach()
target_link_libraries(fuzz_message PRIVATE km_dep::cjson)
