// Prints a list of native/sources.json for binding.gyp: `node scripts/sources.cjs engine`.
const sources = require('../native/sources.json');

for (const item of process.argv.slice(2).reduce((list, key) => list[key], sources)) console.log(item);
