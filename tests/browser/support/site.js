/**
 * What a test in a browser stands on: a server and a browser of its own, with or without nginx in
 * front.
 *
 * A test file calls `useSite` once; everything is started before its first test and stopped after
 * its last.
 *
 * @import { Browser, BrowserContextOptions } from 'playwright-core'
 */
import { after, before } from 'node:test';
import { Nginx } from './nginx.js';
import { Person, openBrowser } from './person.js';
import { Server } from './server.js';

/**
 * @param {object} [options]
 * @param {Record<string, string>} [options.environment] settings of the server
 * @param {boolean} [options.nginx] whether people come through nginx
 */
export function useSite({ environment = {}, nginx = false } = {}) {
  const site = new Site();
  before(() => site.start(environment, nginx));
  after(() => site.stop());
  return site;
}

export class Site {
  /** @type {Server} */
  server;
  /** @type {Browser} */
  browser;
  /** @type {Nginx | undefined} */
  nginx;

  /**
   * @param {Record<string, string>} [environment]
   * @param {boolean} [nginx]
   */
  async start(environment = {}, nginx = false) {
    this.server = await Server.start(environment);
    if (nginx) this.nginx = await Nginx.before(this.server);
    this.browser = await openBrowser();
  }

  async stop() {
    await this.browser?.close();
    await this.nginx?.stop();
    await this.server?.stop();
  }

  /** Where people find the page. */
  get url() {
    return (this.nginx ?? this.server).url;
  }

  /**
   * A person in a browser profile of their own, who has not opened the page yet.
   *
   * @param {string} name
   * @param {BrowserContextOptions} [options]
   */
  arrive(name, options) {
    return Person.arrive(this.browser, this.url, name, options);
  }

  /**
   * A conversation with two people in it, and its invite link.
   *
   * @param {string} [title]
   */
  async conversationOfTwo(title = 'Harbour festival') {
    const ada = await this.arrive('Ada Lindqvist');
    await ada.signUp();
    await ada.create(title);
    const link = await ada.inviteLink();
    const ben = await this.arrive('Ben Okafor');
    await ben.signUpByInvite(link);
    return { ada, ben, link };
  }
}
