#include "program.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <stdexcept>

namespace ptx {
namespace {

std::string trimmed(std::string text) {
  const auto comment = text.find("//");
  if (comment != std::string::npos) text.resize(comment);
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> split(const std::string& text, const char* separators) {
  std::vector<std::string> parts;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    if (c == '{' || c == '[' || c == '(') ++depth;
    if (c == '}' || c == ']' || c == ')') --depth;
    if (depth == 0 && std::string(separators).find(c) != std::string::npos) {
      if (!trimmed(part).empty()) parts.push_back(trimmed(part));
      part.clear();
    } else {
      part += c;
    }
  }
  if (!trimmed(part).empty()) parts.push_back(trimmed(part));
  return parts;
}

std::string inner(const std::string& bracketed) {
  return trimmed(bracketed.substr(1, bracketed.size() - 2));
}

class Reader {
 public:
  explicit Reader(const std::string& text) {
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) program_.lines.push_back(line);
  }

  Program read() {
    for (at_ = 0; at_ < program_.lines.size(); ++at_) {
      const std::string line = trimmed(program_.lines[at_]);
      const auto entry = line.find(".entry");
      if (entry != std::string::npos || line.find(".func") != std::string::npos) {
        function(entry != std::string::npos);
      }
    }
    for (auto& [name, of] : program_.functions) {
      for (Instruction& one : of.code) {
        if (one.run == machine_handlers().call && program_.functions.count(one.name) == 0) {
          throw std::runtime_error("no function " + one.name);
        }
      }
    }
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("line " + std::to_string(at_ + 1) + ": " + why + ": " + program_.lines[at_]);
  }

  static std::vector<std::pair<std::string, std::pair<unsigned, unsigned>>> parameters(
      const std::string& list) {
    std::vector<std::pair<std::string, std::pair<unsigned, unsigned>>> all;  // name, bytes, alignment
    for (const std::string& declared : split(list, ",")) {
      const std::vector<std::string> words = split(declared, " \t");
      unsigned align = 0;
      unsigned bytes = 0;
      std::string name = words.back();
      for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == ".align") align = static_cast<unsigned>(std::stoul(words[i + 1]));
        const auto digits = words[i].find_first_of("0123456789");
        if (words[i][0] == '.' && digits != std::string::npos && words[i] != ".align") {
          bytes = static_cast<unsigned>(std::stoul(words[i].substr(digits))) / 8;
        }
      }
      const auto bracket = name.find('[');
      if (bracket != std::string::npos) {
        bytes *= static_cast<unsigned>(std::stoul(name.substr(bracket + 1)));
        name.resize(bracket);
      }
      all.push_back({name, {bytes, align == 0 ? bytes : align}});
    }
    return all;
  }

  void function(bool kernel) {
    std::string header;
    for (; at_ < program_.lines.size(); ++at_) {
      const std::string line = trimmed(program_.lines[at_]);
      if (line == ";") return;  // a declaration
      if (line == "{") break;
      header += " " + line;
    }
    Function of;
    of.kernel = kernel;
    const auto last_close = header.rfind(')');
    const auto last_open = header.rfind('(', last_close);
    std::string before = trimmed(header.substr(0, last_open));
    if (!kernel) {
      const auto open = before.find('(');
      if (open != std::string::npos) {
        const auto close = before.find(')');
        of.result_slot = slot(of, parameters(before.substr(open + 1, close - open - 1))[0].first);
        before = trimmed(before.substr(close + 1));
      }
    }
    of.name = split(before, " \t").back();
    for (const auto& [name, shape] : parameters(header.substr(last_open + 1, last_close - last_open - 1))) {
      const auto [bytes, alignment] = shape;
      const std::uint32_t offset = (of.parameter_bytes + alignment - 1) / alignment * alignment;
      of.parameters.push_back({name, bytes, offset});
      of.parameter_bytes = offset + bytes;
      if (!kernel) of.parameter_slots.push_back(slot(of, name));
    }
    body(of);
    program_.functions[of.name] = std::move(of);
  }

  void body(Function& of) {
    std::map<std::string, std::uint32_t> labels;
    std::string statement;
    int depth = 0;
    for (; at_ < program_.lines.size(); ++at_) {
      std::string line = trimmed(program_.lines[at_]);
      if (line.empty()) continue;
      // Braces of a scope beside instructions; operands' braces are never first or last.
      if (line[0] == '{' && line.size() > 1) {
        ++depth;
        line = trimmed(line.substr(1));
      }
      if (line.size() > 1 && line.back() == '}') {
        --depth;
        line = trimmed(line.substr(0, line.size() - 1));
      }
      if (statement.empty()) {
        if (line == "{") {
          ++depth;
          continue;
        }
        if (line == "}") {
          if (--depth == 0) break;
          continue;
        }
        if (line.back() == ':') {
          labels[line.substr(0, line.size() - 1)] = static_cast<std::uint32_t>(of.code.size());
          continue;
        }
        if (line[0] == '.') continue;  // registers and parameters come to be where they are named
      }
      statement += (statement.empty() ? "" : " ") + line;
      if (statement.back() != ';') continue;
      statement.pop_back();
      for (const std::string& one : split(statement, ";")) {
        if (one[0] != '.') of.code.push_back(instruction(of, one));
      }
      statement.clear();
    }
    for (Instruction& one : of.code) {
      if (one.run != machine_handlers().branch) continue;
      const auto label = labels.find(one.name);
      if (label == labels.end()) throw std::runtime_error("no label " + one.name);
      one.target = label->second;
    }
  }

  static int slot(Function& of, const std::string& name) {
    return of.slots.emplace(name, static_cast<int>(of.slots.size())).first->second;
  }

  int constant(std::uint64_t value) {
    program_.constants.push_back(value);
    return -static_cast<int>(program_.constants.size());
  }

  // A register, a number, or the address of something with a name.
  int operand(Function& of, const std::string& text) {
    if (text[0] == '%') return slot(of, text);
    if (text.size() == 10 && text.compare(0, 2, "0f") == 0)
      return constant(std::stoul(text.substr(2), nullptr, 16));
    if (text.size() == 18 && text.compare(0, 2, "0d") == 0) {
      return constant(std::stoull(text.substr(2), nullptr, 16));
    }
    if (std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-') {
      const bool negative = text[0] == '-';
      const std::uint64_t size = std::stoull(text.substr(negative), nullptr, 0);
      return constant(negative ? 0 - size : size);
    }
    for (const Parameter& parameter : of.parameters) {
      if (of.kernel && parameter.name == text) return constant(kParameterWindow + parameter.offset);
    }
    if (of.slots.count(text) != 0 || text.find("param") == 0 || text.find("retval") == 0)
      return slot(of, text);
    return constant(0);  // the one array of shared memory
  }

  void address(Function& of, Instruction& to, const std::string& bracketed) {
    std::string text = inner(bracketed);
    const auto plus = text.find('+');
    if (plus != std::string::npos) {
      to.offset = std::stoll(text.substr(plus + 1));
      text.resize(plus);
    }
    to.base = operand(of, text);
  }

  Instruction instruction(Function& of, std::string text) {
    Instruction one;
    one.line = static_cast<std::uint32_t>(at_ + 1);
    if (text[0] == '@') {
      const auto space = text.find_first_of(" \t");
      one.negated = text[1] == '!';
      one.predicate = slot(of, text.substr(one.negated ? 2 : 1, space - (one.negated ? 2 : 1)));
      text = trimmed(text.substr(space));
    }
    const auto end = text.find_first_of(" \t");
    const std::string name = text.substr(0, end);
    const std::vector<std::string> operands =
        end == std::string::npos ? std::vector<std::string>() : split(text.substr(end), ",");
    const std::vector<std::string> words = split(name, ".");
    const MachineHandlers& machine = machine_handlers();
    const std::string& base = words[0];
    if (base == "bra") {
      one.run = machine.branch;
      one.name = operands.at(0);
    } else if (base == "ret" || base == "exit") {
      one.run = machine.leave;
    } else if (base == "trap") {
      one.run = machine.trap;
    } else if (base == "call") {
      one.run = machine.call;
      one.slots[0] = operand(of, inner(operands.at(0)));
      one.name = operands.at(1);
      for (const std::string& argument : split(inner(operands.at(2)), ",")) {
        one.arguments.push_back(operand(of, argument));
      }
    } else if (base == "membar" || base == "fence") {
      one.run = machine.fence;
      one.offset = words.back() != "cta";  // reaches other blocks
    } else if (name == "bar.warp.sync") {
      one.run = machine.warp_barrier;
      one.slots[0] = operand(of, operands.at(0));
    } else if (base == "bar" || base == "barrier") {
      if (words.at(1) != "sync" || operands.at(0) != "0") fail("a barrier of another kind");
      one.run = machine.block_barrier;
    } else if (base == "ld" || base == "st" || base == "atom" || base == "red") {
      memory(of, one, words, operands);
    } else if (base == "mov" && operands.at(1)[0] == '%' &&
               operands[1].find_first_of("xyz12") != std::string::npos && special(operands[1]) >= 0) {
      one.run = machine.special;
      one.slots[0] = operand(of, operands[0]);
      one.offset = special(operands[1]);
    } else {
      compute(of, one, name, operands);
    }
    return one;
  }

  static int special(const std::string& name) {
    static const char* const kNames[] = {"%tid.x",    "%tid.y",   "%tid.z",    "%ctaid.x",
                                         "%ctaid.y",  "%ctaid.z", "%nctaid.x", "%nctaid.y",
                                         "%nctaid.z", "%envreg1", "%envreg2"};
    for (int i = 0; i < 11; ++i) {
      if (name == kNames[i]) return i;
    }
    return -1;
  }

  void memory(Function& of, Instruction& one, const std::vector<std::string>& words,
              const std::vector<std::string>& operands) {
    const MachineHandlers& machine = machine_handlers();
    const bool atomic = words[0] == "atom" || words[0] == "red";
    if (atomic) one.strength = Strength::kRelaxed;
    for (const std::string& word : words) {
      if (word == "global") one.space = Space::kGlobal;
      if (word == "shared") one.space = Space::kShared;
      if (word == "param") one.space = Space::kParam;
      if (word == "volatile") one.strength = Strength::kVolatile;
      if (word == "relaxed") one.strength = Strength::kRelaxed;
      if (word == "acquire") one.strength = Strength::kAcquire;
      if (word == "release") one.strength = Strength::kRelease;
      if (word == "acq_rel") one.strength = Strength::kAcquireRelease;
      if (word == "v2") one.count = 2;
      if (word == "v4") one.count = 4;
    }
    one.width = static_cast<std::uint8_t>(std::stoul(words.back().substr(1)) / 8);
    one.is_signed = words.back()[0] == 's';
    const auto values = [&](const std::string& text) {
      const std::vector<std::string> parts = text[0] == '{' ? split(inner(text), ",") : std::vector{text};
      if (parts.size() != one.count) fail("another number of values");
      for (std::size_t i = 0; i < parts.size(); ++i) one.slots[i] = operand(of, parts[i]);
    };
    if (atomic) {
      const auto does = [&](const char* operation) {
        return std::find(words.begin(), words.end(), operation) != words.end();
      };
      const bool returns = words[0] == "atom";
      one.slots[0] = returns ? operand(of, operands.at(0)) : slot(of, "%nowhere");
      address(of, one, operands.at(returns));
      one.slots[1] = operand(of, operands.at(returns + 1));
      one.run = does("add")   ? machine.atomic_add
                : does("max") ? machine.atomic_max
                : does("min") ? machine.atomic_min
                              : nullptr;
      if (one.run == nullptr) fail("an atomic operation that is not known");
      return;
    }
    one.run = words[0] == "ld" ? machine.load : machine.store;
    values(operands.at(words[0] == "ld" ? 0 : 1));
    address(of, one, operands.at(words[0] == "ld" ? 1 : 0));
    // What a call passes is a register of the one who calls or is called.
    const std::string named = split(inner(operands.at(words[0] == "ld" ? 1 : 0)), "+")[0];
    if (one.space == Space::kParam && named[0] != '%' && one.base >= 0) {
      one.run = arithmetic().at("mov.b64");
      const int value = one.slots[0];
      one.slots[0] = words[0] == "ld" ? value : one.base;
      one.slots[1] = words[0] == "ld" ? one.base : value;
    }
  }

  void compute(Function& of, Instruction& one, std::string name, const std::vector<std::string>& operands) {
    // Halves of a register, together or apart.
    if (name == "mov.b64" && operands.at(0)[0] == '{') name = "unpack";
    if (name == "mov.b64" && operands.at(1)[0] == '{') name = "pack";
    const auto handler = arithmetic().find(name);
    if (handler == arithmetic().end()) fail("an instruction that is not known");
    one.run = handler->second;
    int at = 0;
    for (const std::string& text : operands) {
      const std::vector<std::string> parts = text[0] == '{' ? split(inner(text), ",") : std::vector{text};
      for (const std::string& part : parts) one.slots[at++] = operand(of, part);
    }
  }

  Program program_;
  std::size_t at_ = 0;
};

}  // namespace

Program read_program(const std::string& text) {
  return Reader(text).read();
}

}  // namespace ptx
