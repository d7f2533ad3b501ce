# Write OUTPUT defining BK_SOURCE_DIGEST, the SHA-256 over the SHA-256s of SOURCES in the given order.
set(all "")
foreach(s IN LISTS SOURCES)
  file(SHA256 ${s} one)
  string(APPEND all "${one}\n")
endforeach()
string(SHA256 digest "${all}")
file(WRITE ${OUTPUT} "#define BK_SOURCE_DIGEST \"${digest}\"\n")
