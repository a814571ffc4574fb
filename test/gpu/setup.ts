import { choosePlugin } from './plugin.js';

choosePlugin();
