/**
 * Makes `docs/images/` anew, as the README shows them: three people in a conversation on the real
 * server, and the page of numbers with a year of made up ones.
 *
 *     node tests/browser/screenshot.js
 */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FakeAnalytics } from './support/analytics.js';
import { look } from './support/analytics-page.js';
import { Site } from './support/site.js';

const images = join(dirname(fileURLToPath(import.meta.url)), '../../docs/images');
const looks = { locale: 'en-GB' };

const site = new Site();
try {
  await site.start();
  const ada = await site.arrive('Ada Lindqvist', looks);
  const ben = await site.arrive('Ben Okafor', looks);
  const mira = await site.arrive('Mira', looks);
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
    await ben.inConversation();
    await ben.say(text);
    await ben.confirmed(text);
  }
  for (const person of [ada, ben]) await person.open('Harbour festival');
  const crew = 'Good morning! The stage crew confirmed for Saturday, so the programme can go out today.';
  const band = 'Hi, Mira from the brass band. We are eleven people, with two vans.';
  for (const { person, text } of [
    { person: ada, text: crew },
    { person: ada, text: 'Draft: https://example.org/festival/programme' },
    { person: ben, text: 'Wonderful 🎉' },
    { person: ben, text: 'I still need the final list of musicians.\nCould someone send it before noon?' },
    { person: mira, text: band },
    { person: ada, text: 'Noted! Parking is behind the old customs house, gate B.' },
  ]) {
    await person.say(text);
    await person.confirmed(text);
    await ada.sees(text);
  }
  await ada.act('Wonderful 🎉', 'quick-❤️');
  await ben.act(crew, 'quick-👍');
  await mira.act(crew, 'quick-👍');
  await ben.act(band, 'reply');
  await ben.say('Great, I put you on at 14:30.');
  await ben.confirmed('Great, I put you on at 14:30.');
  await ben.open('Volunteers');
  await ben.say('Two places are still open.');
  await ben.confirmed('Two places are still open.');
  await mira.by('composer').pressSequentially('Perfect, see you');
  await ada.page.mouse.move(700, 10);
  await ada.by('composer').focus();
  await ada.by('typing').getByText('Mira is typing').waitFor();
  await ada.by('conversation').filter({ hasText: 'Two places are still open.' }).waitFor();
  mkdirSync(images, { recursive: true });
  await ada.page.screenshot({ path: join(images, 'page.png'), animations: 'disabled' });
  await numbers(ada);
} finally {
  await site.stop();
}

/** @param {import('./support/person.js').Person} person */
async function numbers(person) {
  const fake = new FakeAnalytics();
  fake.titles = fake.titles.map((title) => (title?.startsWith('=') ? 'Budget' : (title ?? 'Harbour lights')));
  fake.people = fake.people.map((name) => (name.startsWith('@') ? 'Sven Aalto' : name));
  await fake.answerFor(person.page);
  await person.page.setViewportSize({ width: 1_280, height: 1_120 });
  await look(person, 'from=2026-10-01&through=2026-10-31&tz=Europe/Berlin&group_by=conversation');
  await person.page.screenshot({ path: join(images, 'analytics.png'), animations: 'disabled' });
}
