// The TensorFlow that this process has loaded, if any.
#pragma once

#include <string>

#include "c_api.h"

namespace vradam::tensorflow {

// Finds the functions of the TensorFlow library that is already loaded, and keeps the library loaded from
// then on. Returns an empty string, or why there is none, in a sentence.
std::string find_runtime(Api& api);

}  // namespace vradam::tensorflow
