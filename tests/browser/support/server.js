/**
 * The real server for a test: its own port and data directory, started, killed and started again
 * like on a bad day.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
export const BINARY = process.env.SERVER_BINARY ?? join(ROOT, 'target/debug/parlance');
/** The first start makes a database, which takes seconds on a busy machine. */
const READY_MS = 60_000;
const STOP_MS = 35_000;

export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #child = null;
  #environment;

  /**
   * Starts a server with an empty data directory.
   *
   * @param {Record<string, string>} [environment] settings
   */
  static async start(environment = {}) {
    if (!existsSync(BINARY))
      throw new Error(`There is no server at ${BINARY}; build it with \`cargo build --all-features\`.`);
    const server = new Server(await freePort(), environment);
    try {
      await server.up();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /**
   * @param {number} port
   * @param {Record<string, string>} environment
   */
  constructor(port, environment) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.directory = mkdtempSync(join(tmpdir(), 'parlance-browser-'));
    // As root the database runs as another user, who has to get through here.
    chmodSync(this.directory, 0o755);
    mkdirSync(join(ROOT, 'tests/browser/output'), { recursive: true });
    this.log = join(ROOT, `tests/browser/output/server-${port}.log`);
    this.#environment = environment;
  }

  /** Starts the process and waits until it is ready. */
  async up() {
    const log = openSync(this.log, 'a');
    this.#child = spawn(BINARY, [], {
      cwd: ROOT,
      env: {
        ...process.env,
        PARLANCE_PRESENCE_GRACE: '2',
        RATE_LIMIT_ENABLED: 'false',
        ...this.#environment,
        BIND: `127.0.0.1:${this.port}`,
        DATA_DIR: join(this.directory, 'data'),
      },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const child = this.#child;
    let ended = false;
    child.once('exit', () => (ended = true));
    const until = Date.now() + READY_MS;
    while (Date.now() < until && !ended) {
      const ready = await fetch(`${this.url}/health/ready`).then(
        (response) => response.ok,
        () => false,
      );
      if (ready) return;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`The server did not get ready. Its log ends:\n${readFileSync(this.log, 'utf8').slice(-3_000)}`);
  }

  /** Stops the process where it stands: from now on nobody gets a response, until it is killed. */
  freeze() {
    this.#child?.kill('SIGSTOP');
  }

  /** `kill -9`, in the middle of whatever it does. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Stops it as an operator does, and removes what it left. */
  async stop() {
    await this.#end('SIGTERM');
    stopLeftDatabase(this.directory);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await gone;
    clearTimeout(timer);
  }
}

/** @returns {Promise<number>} */
export async function freePort() {
  const probe = createServer();
  await new Promise((done) => probe.listen(0, '127.0.0.1', () => done(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  await new Promise((done) => probe.close(done));
  return port;
}

/**
 * A server that was killed cannot stop its database. The directory is about to go, so this does.
 *
 * @param {string} directory
 */
function stopLeftDatabase(directory) {
  for (const entry of readdirSync(directory, { recursive: true })) {
    if (!String(entry).endsWith('postmaster.pid')) continue;
    const pid = Number(readFileSync(join(directory, String(entry)), 'utf8').split('\n')[0]);
    try {
      if (pid > 1) process.kill(pid, 'SIGQUIT');
    } catch {
      // It is gone already.
    }
  }
}
