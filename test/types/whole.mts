// Compiles with the library of ES2022 alone, but for what TensorFlow.js itself declares.
import { type VRAdamOptimizer, vradam } from 'vradam';

export const optimizer: VRAdamOptimizer = vradam(1e-3, { weightDecay: 1e-2 });
