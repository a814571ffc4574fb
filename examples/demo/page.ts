import './style.css';
// Brings the gradients of all operations, which tfjs-core alone does not register.
import '@tensorflow/tfjs-layers';
import { measureTask } from './measure-view.js';
import { startOnSubmit } from './task.js';
import { trainTask } from './train-view.js';

startOnSubmit([trainTask(), measureTask()]);
