#!/usr/bin/env node
import process from 'node:process';
import { vradam } from './program.js';

process.exitCode = await vradam(process.argv.slice(2));
