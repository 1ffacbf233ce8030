/**
 * The shipped nginx in front of a server of the tests, with the page's files on its disk and its
 * limits as they are shipped.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BINARY, ROOT, freePort } from './server.js';

const READY_MS = 15_000;

export class Nginx {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;

  /**
   * Starts one in front of a server.
   *
   * @param {import('./server.js').Server} server
   */
  static async before(server) {
    const program = execFileSync(join(ROOT, 'scripts/nginx.sh'), { encoding: 'utf8' }).trim();
    const nginx = new Nginx(await freePort());
    execFileSync(BINARY, ['assets', join(nginx.directory, 'www')], { cwd: nginx.directory });
    const settings = {
      NGINX_LISTEN: `127.0.0.1:${nginx.port}`,
      NGINX_NODES: `127.0.0.1:${server.port}`,
      NGINX_RUN_DIR: join(nginx.directory, 'run'),
      NGINX_STATIC_ROOT: join(nginx.directory, 'www'),
      NGINX_STATUS_LISTEN: '',
    };
    const conf = join(nginx.directory, 'conf');
    execFileSync(join(ROOT, 'nginx/render'), [conf], { env: { ...process.env, ...settings } });
    await nginx.#up(program, join(conf, 'nginx.conf'));
    return nginx;
  }

  /** @param {number} port */
  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.directory = mkdtempSync(join(tmpdir(), 'parlance-nginx-'));
    // As root its workers run as another user, who has to get through here.
    execFileSync('chmod', ['755', this.directory]);
    mkdirSync(join(ROOT, 'tests/browser/output'), { recursive: true });
    this.errors = join(ROOT, `tests/browser/output/nginx-${port}.log`);
  }

  /**
   * @param {string} program
   * @param {string} conf its main file
   */
  async #up(program, conf) {
    const log = openSync(this.errors, 'a');
    this.#child = spawn(program, ['-e', 'stderr', '-c', conf, '-g', 'daemon off;'], {
      stdio: ['ignore', 'ignore', log],
    });
    closeSync(log);
    const until = Date.now() + READY_MS;
    while (Date.now() < until && this.#child.exitCode === null) {
      if (
        await fetch(`${this.url}/health/live`).then(
          (response) => response.ok,
          () => false,
        )
      )
        return;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`nginx did not get ready: ${readFileSync(this.errors, 'utf8')}`);
  }

  /** The lines of the access log. */
  logged() {
    const lines = readFileSync(join(this.directory, 'run/access.log'), 'utf8').split('\n');
    // The last one may be half there.
    return lines.slice(0, -1).map((line) => JSON.parse(line));
  }

  async stop() {
    const child = this.#child;
    const gone = new Promise((done) => child?.once('exit', done));
    if (child?.exitCode === null && child.kill('SIGTERM')) await gone;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
