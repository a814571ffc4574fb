// Made of native/sources.json by scripts/instruction-sets.mjs; do not edit.
#pragma once

#if defined(VRADAM_X86)
#define VRADAM_INSTRUCTION_SETS(use) use(avx512) use(avx2) use(sse2) use(scalar)
#elif defined(VRADAM_ARM64)
#define VRADAM_INSTRUCTION_SETS(use) use(neon) use(scalar)
#else
#define VRADAM_INSTRUCTION_SETS(use) use(scalar)
#endif
