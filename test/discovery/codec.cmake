# What is said of peers, as bytes: DNS messages, TXT attributes, signed packets, key name records.
foreach(name details dns_message pkarr record txt)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c)
endforeach()
target_link_libraries(discovery_dns_message_test PRIVATE km_dep::cares)
target_compile_definitions(discovery_record_test PRIVATE
  KM_RECORD_DOCUMENT="${PROJECT_SOURCE_DIR}/docs/protocol-record.md")

foreach(name details pkarr record txt)
  km_add_fuzzer(fuzz_${name} fuzz_${name}.c CORPUS corpus/${name})
endforeach()
target_link_libraries(fuzz_txt PRIVATE km_dep::cares)
