// Which instruction sets this build and this machine have.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace vradam {

// Fastest first; the last one always runs.
const std::vector<const Kernels*>& available_kernels();

// The kernels of that name, the fastest for an empty name, or null where this machine has none such.
const Kernels* find_kernels(const std::string& name);

}  // namespace vradam
