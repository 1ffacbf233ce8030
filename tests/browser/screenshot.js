/**
 * Makes `docs/screenshot.png` anew: three people in a conversation on the real server, at the size a README shows.
 *
 *     node tests/browser/screenshot.js
 */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Person, openBrowser } from './support/person.js';
import { Server } from './support/server.js';

const target = join(dirname(fileURLToPath(import.meta.url)), '../../docs/screenshot.png');
const looks = { locale: 'en-GB', deviceScaleFactor: 1.25, reducedMotion: 'no-preference' };

const server = await Server.start();
const browser = await openBrowser();
try {
  const ada = await Person.arrive(browser, server, 'Ada Lindqvist', looks);
  const ben = await Person.arrive(browser, server, 'Ben Okafor', looks);
  const mira = await Person.arrive(browser, server, 'Mira', looks);
  await ada.signUp();
  await ada.create('Harbour festival');
  const link = await ada.inviteLink();
  await ben.signUpByInvite(link);
  await mira.joinAsGuest(link);
  for (const [title, text] of [
    ['Budget', 'The second quote came in 300 below the first one.'],
    ['Volunteers', 'Shifts for Saturday are out, please have a look.'],
  ]) {
    await ada.create(title);
    await ben.page.goto(await ada.inviteLink());
    await ben.inRoom();
    await ben.say(text);
    await ben.confirmed(text);
  }
  for (const person of [ada, ben]) await person.open('Harbour festival');
  const talk = [
    [ada, 'Good morning! The stage crew confirmed for Saturday, so the programme can go out today.'],
    [ada, 'Draft: https://example.org/festival/programme'],
    [ben, 'Wonderful 🎉'],
    [ben, 'I still need the final list of musicians.\nCould someone send it before noon?'],
    [mira, 'Hi, Mira from the brass band. We are eleven people, with two vans.'],
    [ada, 'Noted! Parking is behind the old customs house, gate B.'],
  ];
  for (const [person, text] of talk) {
    await person.say(text);
    await person.confirmed(text);
    await ada.sees(text);
  }
  await ada.act('Wonderful 🎉', 'quick-❤️');
  await ben.act(talk[0][1], 'quick-👍');
  await mira.act(talk[0][1], 'quick-👍');
  await ben.act(talk[4][1], 'reply');
  await ben.say('Great, I put you on at 14:30.');
  await ben.confirmed('Great, I put you on at 14:30.');
  await ben.open('Volunteers');
  await ben.say('Two places are still open.');
  await ben.confirmed('Two places are still open.');
  await mira.by('composer').pressSequentially('Perfect, see you');
  await ada.page.mouse.move(700, 10);
  await ada.by('composer').focus();
  await ada.page.waitForTimeout(2_500);
  mkdirSync(dirname(target), { recursive: true });
  await ada.page.screenshot({ path: target });
} finally {
  await browser.close();
  await server.stop();
}
