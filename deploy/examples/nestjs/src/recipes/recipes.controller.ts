import { Body, Controller, Delete, Get, NotFoundException, Param, ParseIntPipe, Post } from "@nestjs/common";
import { InjectRepository } from "@nestjs/typeorm";
import { Repository } from "typeorm";
import { CurrentUser, OpenToAll } from "../menshen.guard";
import { text } from "../text";
import { User } from "../users/user.entity";
import { Recipe } from "./recipe.entity";

/** Recipes are their author's alone, but for the number of them. */
@Controller("api/v1/recipes")
export class RecipesController {
  constructor(@InjectRepository(Recipe) private readonly recipes: Repository<Recipe>) {}

  @Get("count")
  @OpenToAll()
  async count(@CurrentUser() user: User | null) {
    const mine = user && (await this.recipes.countBy({ authorId: user.id }));
    return { all: await this.recipes.count(), mine };
  }

  @Get()
  list(@CurrentUser() user: User) {
    return this.recipes.find({ where: { authorId: user.id }, order: { id: "DESC" } });
  }

  @Post()
  async create(@CurrentUser() user: User, @Body() body: { title?: unknown }) {
    // The author is the caller, whatever the body says.
    const recipe = this.recipes.create({ title: text(body.title, "title", 100), authorId: user.id });
    await this.recipes.insert(recipe);
    return recipe;
  }

  @Get(":id")
  async one(@CurrentUser() user: User, @Param("id", ParseIntPipe) id: number) {
    return (await this.recipes.findOneBy({ id, authorId: user.id })) ?? notFound();
  }

  @Delete(":id")
  async remove(@CurrentUser() user: User, @Param("id", ParseIntPipe) id: number) {
    const { affected } = await this.recipes.delete({ id, authorId: user.id });
    if (affected === 0) notFound();
  }
}

/** The same for a recipe of somebody else as for one that is not there. */
function notFound(): never {
  throw new NotFoundException("食谱不存在");
}
