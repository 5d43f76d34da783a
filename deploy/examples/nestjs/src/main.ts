import "reflect-metadata";
import { NestFactory } from "@nestjs/core";
import { NestExpressApplication } from "@nestjs/platform-express";
import { rmSync } from "node:fs";
import { AppModule } from "./app.module";

async function main() {
  const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ["error", "warn"] });
  app.enableShutdownHooks();
  app.disable("x-powered-by");
  // Only menshen may reach this: a socket in a directory that only it can enter, or loopback. Never 0.0.0.0.
  const { SOCKET, PORT = "3000" } = process.env;
  if (SOCKET) {
    rmSync(SOCKET, { force: true }); // left by a process that was killed
    await app.listen(SOCKET);
  } else {
    await app.listen(Number(PORT), "127.0.0.1");
  }
  console.log(`listening on ${await app.getUrl()}`);
}

void main();
